"""The images of a batch evaluation: listed, looked at once, and read by whoever answers them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.errors import DataError
from models.spec import DataSpec
from models.splits import Dataset, Split
from workers.sources.encoded_images import ImageKind, kind_of
from workers.sources.source import unreadable
from workers.sources.stream import Piece, Stream, list_images, list_parquet
from workers.sources.streaming import Batch, batch_size, read_piece
from workers.storage.places import place_of

FEW = 16
"""Images on which a foreign file is held against its network."""


@dataclass(frozen=True)
class Streamed:
    """Data that is never in memory whole.

    Attributes:
        stream: the files.
        kind: what every image must be: what the first one is.
        few: the first images, as a test part; labels of unlabelled data are -1.
        places: the model's class of each label of the data; None for unlabelled data.
    """

    stream: Stream
    kind: ImageKind
    few: Dataset
    places: np.ndarray | None

    def __len__(self) -> int:
        return len(self.stream)

    def batches(self, piece: Piece) -> Iterator[Batch]:
        """Images of a piece with labels in the model's numbering.

        Raises:
            DataError: For the first image or label that cannot be accepted, with file and row.
        """
        size = batch_size(self.few.input_shape)
        try:
            for batch in read_piece(self.stream, piece, kind=self.kind, size=size):
                yield replace(batch, labels=self._known(batch))
        except OSError as fault:
            raise unreadable(fault.filename or str(self.stream.place), fault) from None

    def _known(self, batch: Batch) -> np.ndarray | None:
        if batch.labels is None or self.places is None:
            return None
        outside = batch.labels >= len(self.places)
        if outside.any():
            at = int(np.argmax(outside))
            raise DataError(
                f"{self.stream.where(batch.files[at])}[{batch.rows[at]}]: found the label "
                f"{batch.labels[at]}; accepted are the {len(self.places)} classes from 0 to "
                f"{len(self.places) - 1}"
            )
        return np.asarray(self.places[batch.labels])


def list_data(
    spec: DataSpec, *, folder: Path, logits: int, classes: tuple[str, ...] | None
) -> Streamed:
    """List the data of a batch evaluation, and look at its first images.

    Args:
        spec: what the job asks for; a folder of images or Parquet.
        folder: where a relative path starts.
        logits: number of the model's.
        classes: their names, in their order, where the job gives them.

    Raises:
        DataError: For data that is missing or not acceptable, or that speaks of other classes.
    """
    try:
        place = place_of(spec.path or "", folder=folder)
        if spec.source == "parquet":
            stream = list_parquet(place, label_column=spec.label_column)
        else:
            stream = list_images(place)
        names, places = _classes(stream, logits=logits, classes=classes)
        first = next(piece for piece in stream.pieces(FEW))
        (batch, *_) = read_piece(stream, first, kind=None, size=FEW)
    except (OSError, RuntimeError) as fault:  # RuntimeError: ~ of a user whom nobody knows
        raise unreadable(getattr(fault, "filename", None) or spec.path or "", fault) from None
    kind = kind_of(batch.images[0], name=stream.where(batch.files[0]))
    count = len(batch.images)
    few = Split(batch.images, np.full(count, -1, dtype=np.int64), np.arange(count))
    nothing = few.take(slice(0, 0))
    return Streamed(stream, kind, Dataset(nothing, nothing, few, names), places)


def _classes(
    stream: Stream, *, logits: int, classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Names of the model's classes, and the model's class of each label of the data."""
    if classes is not None and (len(classes) != logits or len(set(classes)) < logits):
        raise DataError(
            f"found {len(set(classes))} different names of classes for {logits} logits; "
            "accepted is one to a logit"
        )
    names = classes or stream.classes or tuple(map(str, range(logits)))
    if len(names) != logits:
        raise DataError(
            f"{stream.place}: found {len(names)} classes for a model of {logits} logits; accepted "
            "is one to a logit, or the names of the model's classes in the order of its logits"
        )
    if stream.labels is None:
        return names, None
    if stream.classes is None:
        return names, np.arange(logits)
    unknown = [name for name in stream.classes if name not in names]
    if unknown:
        raise DataError(
            f"{stream.place}: found the class {unknown[0]!r}; accepted are the model's: "
            f"{', '.join(names)}"
        )
    return names, np.array([names.index(name) for name in stream.classes], dtype=np.int64)
