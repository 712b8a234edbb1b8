"""The images that a foreign model is certified on: a test part, or all of a source of one part.

No training image is needed, and the model decides how many classes there are and in which order:
a class without an image is no fault, and classes that the data names are found by their names.
"""

from pathlib import Path

import numpy as np

from models.errors import DataError
from models.spec import DataSpec
from models.splits import Dataset, Split
from workers.data import check_images, read_source
from workers.sources.source import Part, Source


def load_test_images(
    spec: DataSpec, *, folder: Path, logits: int, classes: tuple[str, ...] | None
) -> Dataset:
    """Read the data of a job that trains nothing.

    Args:
        spec: what the job asks for.
        folder: where a relative `spec.path` starts.
        logits: number of the model's.
        classes: their names, in their order, where the job gives them.

    Returns:
        A data set whose training and validation parts are empty.

    Raises:
        DataError: For data that is missing or not acceptable, or that speaks of other classes.
    """
    source = read_source(spec, folder=folder)
    part = _test_part(source)
    check_images(part, name="test", train=part)
    names, labels = _labelled(source, part, logits=logits, classes=classes)
    test = Split(np.ascontiguousarray(part.images), labels, np.arange(len(labels)))
    nothing = test.take(slice(0, 0))
    return Dataset(train=nothing, validation=nothing, test=test, classes=names)


def _test_part(source: Source) -> Part:
    """The test part, or the only one."""
    if "test" in source.parts:
        return source.parts["test"]
    first, *others = source.parts.values()
    if others:
        raise DataError(
            f"{first.files[0][0]}: found the parts {', '.join(source.parts)}; accepted is data "
            "with a test part, or of one part, all of which is certified"
        )
    return first


def _labelled(
    source: Source, part: Part, *, logits: int, classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the model's classes, and labels as places among them."""
    where, labels = part.files[0][0], part.labels
    if classes is not None and (len(classes) != logits or len(set(classes)) < logits):
        raise DataError(
            f"found {len(set(classes))} different names of classes for {logits} logits; "
            "accepted is one to a logit"
        )
    names = classes or source.classes or tuple(map(str, range(logits)))
    if source.classes is not None and classes is not None:
        unknown = [name for name in source.classes if name not in classes]
        if unknown:
            raise DataError(
                f"{where}: found the class {unknown[0]!r}; accepted are the model's: "
                f"{', '.join(classes)}"
            )
        places = np.array([classes.index(name) for name in source.classes], dtype=np.int64)
        _check_labels(part, len(places))
        labels = places[labels]
    if len(names) != logits:
        raise DataError(
            f"{where}: found {len(names)} classes for a model of {logits} logits; accepted is one "
            "to a logit, or the names of the model's classes in the order of its logits"
        )
    _check_labels(part, logits if source.classes is None else len(source.classes))
    return names, labels


def _check_labels(part: Part, classes: int) -> None:
    outside = part.labels >= classes
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"{part.place(row)}: found the label {part.labels[row]}; accepted are the {classes} "
            f"classes from 0 to {classes - 1}"
        )
