"""From a job's `[data]` to three parts that share no example.

A part that the source has is kept whole and in its order; a part that it lacks is cut from the
training images by a seeded, stratified choice.  Which rows are cut depends on the seed, the labels
and the name of the part alone, not on the pixels or on the other parts.

Neither Ray nor torch is loaded here, so a dry run may look at the data too.
"""

import math
from pathlib import Path

import numpy as np

from models.errors import DataError
from models.spec import DataSpec
from models.splits import Dataset, Examples, Split
from workers.sources.source import Part, Source, unreadable
from workers.sources.stored_images import StoredImages
from workers.sources.streamed import StreamedSplit
from workers.storage.places import fetched, is_url

STREAMS = {"test": 1, "validation": 2}  # one stream of random numbers for each part that is cut


def load_data(spec: DataSpec, *, seed: int, folder: Path) -> Dataset:
    """Read the data of a job and split it.

    Pixels stay uint8 where they are stored as bytes, and are float32 in [0, 1] otherwise; float64
    is rounded to float32, and that number is what is certified.

    Args:
        spec: what the job asks for.
        seed: of the split, 0 or more; the same seed gives the same parts.
        folder: where a relative `spec.path` starts: the folder of the job file.

    Returns:
        Parts with examples in the order of the source.  `indices` are rows of the source's part
        that they come from: `validation` shares the numbering of `train` where it is cut from it.

    Raises:
        DataError: For data that is missing, unreadable or not acceptable, with file and index.
    """
    source = read_source(spec, folder=folder)
    classes = _classes(source)
    rows = {name: np.arange(len(part.labels)) for name, part in source.parts.items()}
    for name, share in (("test", spec.test), ("validation", spec.validation)):
        if name not in rows:
            kept = rows["train"]
            labels = source.parts["train"].labels[kept]
            cut = cut_rows(labels, share=share, seed=seed, stream=STREAMS[name])
            rows["train"], rows[name] = kept[~cut], kept[cut]
            if not cut.any():
                raise DataError(
                    f"{source.parts['train'].files[0][0]}: found {len(kept)} training images, too "
                    f"few to cut a {name} part; accepted are 2 or more of a class"
                )
    return Dataset(
        train=_training(source, rows["train"]),
        validation=_split(source, "validation", rows["validation"]),
        test=_split(source, "test", rows["test"]),
        classes=classes,
    )


def read_source(spec: DataSpec, *, folder: Path) -> Source:
    """The parts of a source as they are stored; a relative path starts at `folder`.

    Raises:
        DataError: For data that is missing or unreadable, with file and index.
    """
    try:
        if spec.path is not None and is_url(spec.path):
            with fetched(spec.path) as copy:
                return _read(spec, path=copy)
        path = None if spec.path is None else folder / Path(spec.path).expanduser()
        return _read(spec, path=path)
    except (OSError, RuntimeError) as fault:  # RuntimeError: ~ of a user whom nobody knows
        place = getattr(fault, "filename", None) or spec.path or spec.source
        raise unreadable(place, fault) from None


def cut_rows(labels: np.ndarray, *, share: float, seed: int, stream: int) -> np.ndarray:
    """Which rows to cut off: of each class its share, at least one, but never all of it.

    The choice for a class depends on the seed, the stream, the class and its number of examples.
    It is drawn from raw bits, the one output that NumPy keeps the same between versions.

    Args:
        labels: `(examples,)`, classes from 0.
        share: part of each class that is cut, in (0, 1), rounded to the nearest example.
        seed: 0 or more.
        stream: tells cuts of the same labels apart.

    Returns:
        A mask, `(examples,)`; a class with a single example is not cut.
    """
    cut = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        wanted = min(max(math.floor(share * len(rows) + 0.5), 1), len(rows) - 1)
        bits = np.random.PCG64(np.random.SeedSequence([stream, int(label), seed]))
        order = np.argsort(bits.random_raw(len(rows)), kind="stable")
        cut[rows[order[:wanted]]] = True
    return cut


def describe(dataset: Dataset) -> dict[str, object]:
    """What `data.json` says of the data: shape, classes, and count and hash of each part."""
    parts: dict[str, Examples]
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return {
        "input_shape": list(dataset.input_shape),
        "pixels": dataset.test.images.dtype.name,
        "classes": list(dataset.classes),
        "parts": {
            name: {
                "examples": len(part),
                "examples_by_class": np.bincount(
                    part.labels, minlength=len(dataset.classes)
                ).tolist(),
                "sha256": part.sha256(),
            }
            for name, part in parts.items()
            if len(part)
        },
    }


def _read(spec: DataSpec, *, path: Path | None) -> Source:
    """The source as it is, by a reader that loads its heavy packages only when it is needed."""
    if spec.source == "digits":
        from workers.sources.digits import read_digits

        return read_digits()
    if spec.source == "fashion-mnist":
        from workers.sources.fashion_mnist import read_fashion_mnist

        return read_fashion_mnist(path)
    if path is None:
        raise DataError(f"source {spec.source!r}: found no path; accepted is a file or a folder")
    if spec.source == "folder":
        from workers.sources.folder import read_folder

        return read_folder(path, buffer=spec.buffer)
    if spec.source == "npz":
        from workers.sources.npz import read_npz

        return read_npz(path)
    from workers.sources.parquet import read_parquet

    return read_parquet(path, label_column=spec.label_column, buffer=spec.buffer)


def _classes(source: Source) -> tuple[str, ...]:
    """Names of the classes, after every part was checked against them and against `train`."""
    if "train" not in source.parts:
        (part, *_) = source.parts.values()
        raise DataError(
            f"{part.files[0][0]}: found no training images; accepted is data with a train part"
        )
    train = source.parts["train"]
    for name, part in source.parts.items():
        check_images(part, name=name, train=train)
    present = np.unique(train.labels)
    names = source.classes
    if names is None:
        gap = np.flatnonzero(present != np.arange(len(present)))
        count = int(gap[0]) if len(gap) else len(present)
        if len(gap):
            raise DataError(
                f"{train.files[0][0]}: found no training example of class {count}, but one of "
                f"class {present[-1]}; accepted are classes counted from 0 without gaps"
            )
        names = tuple(map(str, range(count)))
    for part in source.parts.values():
        outside = part.labels >= len(names)
        if outside.any():
            row = int(np.argmax(outside))
            raise DataError(
                f"{part.place(row)}: found the label {part.labels[row]}; "
                f"accepted are the {len(names)} classes from 0 to {len(names) - 1}"
            )
    if len(names) < 2:
        raise DataError(f"{train.files[0][0]}: found {len(names)} class; accepted are 2 or more")
    for label in np.setdiff1d(np.arange(len(names)), present):
        raise DataError(
            f"{train.files[0][0]}: found no training example of class {label} ({names[label]}); "
            "accepted is at least one of each class"
        )
    return names


def check_images(part: Part, *, name: str, train: Part) -> None:
    """Refuse a part that is empty, lacks labels, or has other images than `train`.

    Raises:
        DataError: With the part's file.
    """
    where = part.files[0][0] if part.files else name
    if not len(part.labels):
        raise DataError(f"{where}: found no example; accepted is a {name} part that is not empty")
    if len(part.images) != len(part.labels):
        raise DataError(
            f"{where}: found {len(part.labels)} labels for {len(part.images)} images of the "
            f"{name} part; accepted is one for each"
        )
    for found, expected in (
        (part.images.shape[1:], train.images.shape[1:]),
        (part.images.dtype, train.images.dtype),
    ):
        if found != expected:
            raise DataError(
                f"{where}: found {name} images of {found}; accepted is {expected}, as in train"
            )


def _training(source: Source, rows: np.ndarray) -> Examples:
    """The training part, which may stay in its files."""
    part = source.parts["train"]
    if isinstance(part.images, StoredImages):
        return StreamedSplit(part.images, part.labels[rows], rows.astype(np.int64))
    return _split(source, "train", rows)


def _split(source: Source, name: str, rows: np.ndarray) -> Split:
    """The rows of a part, in arrays of their own that may be written to."""
    part = source.parts.get(name, source.parts["train"])
    return Split(np.ascontiguousarray(part.images[rows]), part.labels[rows], rows.astype(np.int64))
