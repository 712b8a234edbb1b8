"""Import a foreign file and check that nothing of its function was lost.

Three checks: the operators that are read from the network, preprocessing left out, must have the
hash of those that are read from the file; ONNX Runtime must give the same answers for both on the
images that are certified, with preprocessing done outside the file; and what was read must be what
it computes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from models.errors import ModelError, VerificationError, first_line
from models.proof.agreement import check_agreement
from models.proof.free_batch import with_free_batch
from models.proof.imported_graph import constants_of, imported_graph
from models.proof.layout import Layout, layout_of
from models.proof.program import Program, logits_in_float64
from models.proof.reading.interface import input_of
from models.proof.reading.reader import read_program
from models.proof.sealing import answers_of, run_onnx

PARITY = 1e-4
"""Largest difference of two logits, relative to the largest logit."""
FEW = 64
"""Images on which the program is computed exactly; sealing holds it against all of them."""


@dataclass(frozen=True)
class Preprocessing:
    """(x - mean) / std, channel by channel; what is None is left out."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def apply(self, inputs: np.ndarray) -> np.ndarray:
        """The images as the foreign file wants them, in float32."""
        if self.mean is not None:
            inputs = inputs - constants_of(self.mean)
        if self.std is not None:
            inputs = inputs / constants_of(self.std)
        return inputs

    def check(self, input_shape: Sequence[int]) -> None:
        """Refuse numbers that do not belong to the channels.

        Raises:
            ModelError: If they are neither one nor as many as there are channels.
        """
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and (
                len(input_shape) != 3 or len(values) not in (1, input_shape[0])
            ):
                raise ModelError(
                    f"found {len(values)} numbers as {name} for an input of shape "
                    f"{list(input_shape)}; accepted are one, or one to a channel"
                )


@dataclass(frozen=True)
class Imported:
    """A foreign file and the network that it became.

    Attributes:
        model: the file, weights inside.
        batch: how many images the file takes at once; None where any number.
        network: the bytes that are proved, attacked and sealed.
        preprocessing: what was put in front.
        layout: what was put behind that.
        input_shape: of one example of the file.
        classes: number of logits.
        ending: what was left out behind the logits.
    """

    model: bytes
    batch: int | None
    network: bytes
    preprocessing: Preprocessing
    layout: Layout
    input_shape: tuple[int, ...]
    classes: int
    ending: tuple[str, ...]


def import_model(
    model: bytes,
    preprocessing: Preprocessing,
    *,
    images: tuple[int, ...] | None = None,
    program: Program | None = None,
) -> Imported:
    """The network of a foreign file.

    Args:
        model: the file, weights inside.
        preprocessing: of the images, before the file.
        images: their channels, height and width; left out, those of the file's input.
        program: what `read_program` gave of the file, where that was asked already.

    Raises:
        ModelError: If the file cannot be certified, or the numbers do not fit its channels.
        VerificationError: If the network is not the file's program behind the preprocessing.
    """
    original = program or read_program(model)
    shape = images or original.input_shape
    preprocessing.check(shape)
    layout = Layout() if images is None else layout_of(images, original.input_shape)
    free = with_free_batch(model, original)
    network = imported_graph(
        free, shape=shape, layout=layout, mean=preprocessing.mean, std=preprocessing.std
    )
    told = (preprocessing.mean, preprocessing.std)
    front = [layout.moves, *(values is not None for values in told)]
    if _behind(read_program(network), sum(front)).sha256 != original.sha256:
        raise VerificationError("the imported network holds another program than the file")
    return Imported(
        model,
        input_of(onnx.load_from_string(model).graph).batch,
        network,
        preprocessing,
        layout,
        input_shape=original.input_shape,
        classes=original.classes,
        ending=original.ending,
    )


def check_import(imported: Imported, inputs: np.ndarray) -> float | None:
    """Hold the network against the foreign file in ONNX Runtime.

    Args:
        imported: both of them.
        inputs: float32 images in [0, 1].

    Returns:
        The largest absolute difference of two logits; None where the file gives none, and only
        the classes could be compared.

    Raises:
        ModelError: If ONNX Runtime does not run the file.
        VerificationError: If a logit differs by more than 1e-4 of the largest one, or a class
            does although its margin exceeds that, or what was read is not what is computed.
    """
    fed = imported.layout.apply(imported.preprocessing.apply(inputs))
    expected = _answers(imported.model, fed, batch=imported.batch)
    found = _answers(imported.network, inputs)
    program = read_program(imported.network)
    check_agreement(logits_in_float64(program, inputs[:FEW]), found[:FEW])
    tolerance = PARITY * float(np.abs(found).max(initial=0.0))
    difference = None
    if not imported.ending:
        difference = float(np.abs(found - expected).max(initial=0.0))
        if not difference <= tolerance:
            raise VerificationError(
                f"the imported network's logits differ by {difference:.3g} from the file's; "
                f"accepted is {tolerance:.3g}"
            )
    rows, winners = np.arange(len(found)), found.argmax(axis=1)
    if "ArgMax" in imported.ending:
        kept = expected.reshape(len(found)) == winners
    else:
        kept = expected[rows, winners] == expected.max(axis=1)  # Softmax may round to a tie
    best = np.sort(found, axis=1)
    changed = ~kept & (best[:, -1] - best[:, -2] > tolerance)
    if changed.any():
        raise VerificationError(
            f"example {int(changed.argmax())} has another class in the imported network than in "
            "the file"
        )
    return difference


def _behind(program: Program, operators: int) -> Program:
    """The program that reads what the first so many operators make."""
    if not operators:
        return program
    return replace(
        program,
        input_name=program.operators[operators - 1].result,
        input_shape=program.shapes[operators - 1],
        operators=program.operators[operators:],
        shapes=program.shapes[operators:],
    )


def _answers(model: bytes, inputs: np.ndarray, *, batch: int | None = None) -> np.ndarray:
    """The output that holds logits, or what the file makes of them.

    Args:
        model: the file.
        inputs: as it wants them.
        batch: how many it takes at once; the last image fills the last batch.
    """
    told = {} if batch is None else {"batch": batch}
    missing = -len(inputs) % (batch or 1)
    filled = np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)])
    try:
        outputs = run_onnx(model, filled, optimised=False, **told)
    except Exception as fault:  # the runtime's errors have no common kind
        raise ModelError(f"ONNX Runtime does not run the file: {first_line(fault)}") from None
    return answers_of(outputs)[: len(inputs)]
