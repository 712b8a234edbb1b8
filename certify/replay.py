"""Show a break again from two files: the counterexample and the ONNX file that it broke."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import InvalidInputError

KEYS = ("original", "attacked", "certified", "radius")


def replay(counterexample: Path, model: Path) -> dict[str, Any]:
    """Run both images through the file, in float64 and in ONNX Runtime.

    Args:
        counterexample: `counterexample.npz` of a run that ended as refuted.
        model: the ONNX file that was certified.

    Returns:
        `distance` (L2, rounded up) and the claimed `radius`, in input units; the `certified` class,
        the class at either image in float64 (`original_class`, `attacked_class`) and in ONNX
        Runtime (`attacked_class_float32`); `broken`: whether the attacked image is inside the open
        ball and [0, 1], and another class wins there by more than float64 can have rounded.

    Raises:
        InvalidInputError: If a file cannot be read or the two do not fit each other.
    """
    from models.attacks.recheck import recheck
    from models.proof.bounds import prove
    from models.proof.program import logits_in_float64
    from models.proof.reading.reader import read_program
    from models.proof.sealing import answers_of, run_onnx

    found, content = _images(counterexample), _bytes(model)
    program = read_program(content)
    original, attacked = (found[name][None] for name in ("original", "attacked"))
    if original.shape[1:] != program.input_shape:
        raise InvalidInputError(
            f"{counterexample} holds images of shape {list(original.shape[1:])}; accepted are "
            f"those of {model}, {list(program.input_shape)}"
        )
    certified, radius = int(found["certified"]), float(found["radius"])
    if not 0 <= certified < program.classes:
        raise InvalidInputError(
            f"{counterexample} speaks of class {certified}; {model} has {program.classes} classes"
        )
    breaks = recheck(
        program,
        prove(program),
        originals=original,
        attacked=attacked,
        labels=np.array([certified]),
        eps=np.array([np.nextafter(radius, 0)]),
    )
    moved = bool((breaks.images != attacked).any())  # it was outside, and brought inside
    classes = logits_in_float64(program, np.concatenate((original, attacked))).argmax(axis=1)
    outputs = run_onnx(content, attacked, optimised=False)
    return {
        "distance": float(breaks.distances[0]),
        "radius": radius,
        "certified": certified,
        "original_class": int(classes[0]),
        "attacked_class": int(classes[1]),
        "attacked_class_float32": int(answers_of(outputs).argmax()),
        "broken": bool(breaks.confirmed[0] and not moved),
    }


def _images(path: Path) -> dict[str, np.ndarray]:
    """What the file holds; nothing in it is run."""
    try:
        with np.load(io.BytesIO(_bytes(path)), allow_pickle=False) as stored:
            found = {name: stored[name] for name in KEYS}
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile):
        raise InvalidInputError(
            f"{path} is no counterexample; accepted is an npz file with {', '.join(KEYS)}"
        ) from None
    images = found["original"], found["attacked"]
    fits = images[0].shape == images[1].shape and all(each.dtype == np.float32 for each in images)
    if not fits or not np.isfinite(images).all() or any(found[name].size != 1 for name in KEYS[2:]):
        raise InvalidInputError(
            f"{path} is no counterexample; accepted are two finite float32 images of one shape"
        )
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise InvalidInputError(f"{path}: {fault.strerror}") from None
