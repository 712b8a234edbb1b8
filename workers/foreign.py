"""A foreign ONNX file: read, imported, held against its data and, on a worker, against itself."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import ModelError
from models.model_spec import OnnxSpec
from models.spec import DataSpec
from models.splits import Dataset, Split
from workers.evaluation_data import load_test_images
from workers.model_file import read_model_file
from workers.streamed_data import FEW, Streamed, list_data
from workers.tasks import remote, result, share, threads

if TYPE_CHECKING:  # torch is loaded when a file is read, not before
    from models.proof.importing import Imported
    from models.proof.program import Program


@dataclass(frozen=True)
class Foreign:
    """A foreign file that can be certified on its data.

    Attributes:
        sha256: of the file, weights inside.
        imported: the file and its network.
        dataset: the images that it is certified on; of a batch evaluation the first few.
        streamed: all images of a batch evaluation.
    """

    sha256: str
    imported: "Imported"
    dataset: Dataset
    streamed: Streamed | None = None


def read_foreign(
    model: OnnxSpec,
    data: DataSpec,
    *,
    folder: Path,
    stored: bytes | None = None,
    streamed: bool = False,
) -> Foreign:
    """Read a foreign model and its data, and make sure that they fit each other.

    Args:
        model: which file, and its preprocessing.
        data: which images.
        folder: where relative paths start.
        stored: the file with its weights inside, where somebody has it already.
        streamed: whether images are listed, for a batch evaluation, and not read.

    Raises:
        ModelError: If the file cannot be certified, is another one, or takes other images.
        DataError: If the data cannot be accepted, or has other classes.
    """
    from models.proof.reading.reader import read_program

    content, found = _read(model, folder, stored)
    program = read_program(content)
    logits, classes = program.classes, model.classes
    if streamed:
        listed = list_data(data, folder=folder, logits=logits, classes=classes)
        return replace(_fitted(model, content, found, program, listed.few), streamed=listed)
    dataset = load_test_images(data, folder=folder, logits=logits, classes=classes)
    return _fitted(model, content, found, program, dataset)


def compare_answers(foreign: Foreign) -> float | None:
    """Hold the network against the file on all images, on a worker; the largest difference."""
    task = remote(_compare).remote(foreign.imported, share(foreign.dataset.test))
    difference: float | None = result(task)
    return difference


def _compare(imported: "Imported", test: Split) -> float | None:
    from models.proof.importing import check_import

    threads(1)
    return check_import(imported, test.inputs())


def _read(model: OnnxSpec, folder: Path, stored: bytes | None) -> tuple[bytes, str]:
    """A file with its weights inside, and the hash of that."""
    content = stored or read_model_file(_path(model, folder))
    found = hashlib.sha256(content).hexdigest()
    if model.sha256 not in (None, found):
        raise ModelError(f"{model.path}: found SHA-256 {found}; accepted is {model.sha256}")
    return content, found


def _fitted(
    model: OnnxSpec, content: bytes, sha256: str, program: "Program", dataset: Dataset
) -> Foreign:
    """A file behind the preprocessing of its images, held against itself on the first of them."""
    from models.proof.importing import Preprocessing, check_import, import_model

    try:
        preprocessing = Preprocessing(model.mean, model.std)
        imported = import_model(content, preprocessing, images=dataset.input_shape, program=program)
    except ModelError as fault:
        raise ModelError(f"{model.path}: {fault}") from None
    check_import(imported, dataset.test.take(slice(0, FEW)).inputs())
    return Foreign(sha256, imported, dataset)


def _path(model: OnnxSpec, folder: Path) -> Path:
    try:
        return folder / Path(model.path).expanduser()
    except RuntimeError as fault:  # ~ of a user whom nobody knows
        raise ModelError(f"{model.path}: {fault}; accepted is an ONNX file") from None
