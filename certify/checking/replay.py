"""Show a contradiction again from two files: the counterexample and the ONNX file that it broke."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from certify.stages.counterexample import BREAK, STEEP
from models.errors import InvalidInputError

SEMANTICS = ("radius", "radius_float32")


def replay(counterexample: Path, model: Path) -> dict[str, Any]:
    """Show again what refuted a run.

    Args:
        counterexample: `counterexample.npz` of a run that ended as refuted.
        model: the ONNX file that was certified.

    Returns:
        Of an image inside a radius: `distance` (L2, rounded up) and the claimed `radius`, in input
        units, with its `semantics`; the `certified` class, the class at either image in float64
        (`original_class`, `attacked_class`) and in ONNX Runtime (`attacked_class_float32`).  Of two
        inputs: `classes`, how far their gap was `seen` to move, in logits per unit of input, and
        the claimed `bound`.  Of both: `broken`, whether the claim is contradicted: by another class
        that wins inside the open ball and [0, 1] by more than float64 can have rounded, by another
        class or a tie in ONNX Runtime where that is what was claimed, or by what was seen.

    Raises:
        InvalidInputError: If a file cannot be read or the two do not fit each other.
    """
    from models.proof.reading.reader import read_program

    found, content = _arrays(counterexample), _bytes(model)
    program = read_program(content)
    first = found[_names(found)[0]]
    if first.shape != program.input_shape:
        raise InvalidInputError(
            f"{counterexample} holds images of shape {list(first.shape)}; accepted are "
            f"those of {model}, {list(program.input_shape)}"
        )
    labels = [int(found[name]) for name in ("one", "other", "certified") if name in found]
    if not all(0 <= label < program.classes for label in labels):
        raise InvalidInputError(
            f"{counterexample} speaks of class {max(labels)}; {model} has {program.classes} classes"
        )
    return _steep(program, found) if "first" in found else _broken(program, content, found)


def _broken(program: Any, content: bytes, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Both images through the file, in float64 and in ONNX Runtime."""
    from models.attacks.recheck import recheck
    from models.proof.bounds import prove
    from models.proof.program import logits_in_float64
    from models.proof.sealing import answers_of, run_onnx

    original, attacked = (found[name][None] for name in ("original", "attacked"))
    certified, radius = int(found["certified"]), float(found["radius"])
    semantics = str(found.get("semantics", SEMANTICS[0]))
    breaks = recheck(
        program,
        prove(program),
        originals=original,
        attacked=attacked,
        labels=np.array([certified]),
        eps=np.array([np.nextafter(radius, 0)]),
    )
    inside = bool((breaks.images == attacked).all())  # else it was outside, and brought inside
    classes = logits_in_float64(program, np.concatenate((original, attacked))).argmax(axis=1)
    logits = answers_of(run_onnx(content, attacked, optimised=False))[0]
    kept = bool(logits[certified] > np.delete(logits, certified).max())
    left = not kept if semantics == "radius_float32" else bool(breaks.confirmed[0])
    return {
        "distance": float(breaks.distances[0]),
        "radius": radius,
        "semantics": semantics,
        "certified": certified,
        "original_class": int(classes[0]),
        "attacked_class": int(classes[1]),
        "attacked_class_float32": int(logits.argmax()),
        "broken": inside and left,
    }


def _steep(program: Any, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Both inputs through the file in float64, and how far the gap moved between them."""
    from models.proof.bounds import prove
    from models.proof.program import logits_in_float64
    from models.proof.stretch import quotients

    ends = found["first"][None], found["second"][None]
    pair, bound = (int(found["one"]), int(found["other"])), float(found["bound"])
    logits = (logits_in_float64(program, end) for end in ends)
    seen = float(quotients(prove(program), *ends, *logits)[0][pair])
    return {"classes": list(pair), "seen": seen, "bound": bound, "broken": seen > bound}


def _names(found: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    return STEEP if "first" in found else BREAK


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """What the file holds; nothing in it is run."""
    try:
        with np.load(io.BytesIO(_bytes(path)), allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files if name in BREAK + STEEP}
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile):
        found = {}
    names = _names(found)
    wanted = [name for name in names if name != "semantics"]
    if not set(wanted) <= set(found):
        raise InvalidInputError(
            f"{path} is no counterexample; accepted is an npz file with {', '.join(BREAK[:4])}, "
            f"or with {', '.join(STEEP)}"
        )
    images = found[names[0]], found[names[1]]
    kind = np.float64 if names == STEEP else np.float32
    fits = images[0].shape == images[1].shape and all(each.dtype == kind for each in images)
    claimed = str(found.get("semantics", SEMANTICS[0])) in SEMANTICS
    numbers = [found[name] for name in wanted[2:]]
    plain = all(each.size == 1 and each.dtype.kind in "iuf" for each in numbers)
    if not (fits and claimed and plain) or not np.isfinite(images).all():
        raise InvalidInputError(
            f"{path} is no counterexample; accepted are two finite images of one shape, float32 "
            "ones, or float64 ones between which a gap moved"
        )
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise InvalidInputError(f"{path}: {fault.strerror}") from None
