"""Pieces of a stream, read a few images at a time: memory does not grow with the data."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import DataError
from workers.sources.encoded_images import ImageKind, decode_images
from workers.sources.folder import whole_image
from workers.sources.parquet_columns import column_of_images, contents_of, labels_of
from workers.sources.source import unreadable
from workers.sources.stream import Piece, Stream, class_folder

MOST_IMAGES = 256
MOST_VALUES = 2**23
"""Pixel values of a batch: 32 MiB of float32."""
READ_BYTES = 2**20
"""Read from a column at a time, so that a huge row group is not held in memory."""


@dataclass(frozen=True)
class Batch:
    """Some images of a piece.

    Attributes:
        images: uint8, `(examples, channels, height, width)`.
        labels: int64 in the data's own numbering; None where it has none.
        files: name of the file of each.
        rows: place of each in its file.
    """

    images: np.ndarray
    labels: np.ndarray | None
    files: list[str]
    rows: np.ndarray


def batch_size(input_shape: tuple[int, ...]) -> int:
    """Images of a batch: fixed by their shape, since sums may depend on it in the last bit."""
    return max(1, min(MOST_IMAGES, MOST_VALUES // int(np.prod(input_shape))))


def read_piece(
    stream: Stream, piece: Piece, *, kind: ImageKind | None, size: int
) -> Iterator[Batch]:
    """Images of a piece in order, decoded on one processor.

    Args:
        stream: that it was cut from.
        piece: which rows.
        kind: what every image must be; that of the first one if left out.
        size: most images of a batch.

    Raises:
        DataError: For the first image or label that cannot be accepted, with file and row.
        OSError: If the storage fails.
    """
    batches = _parquet_rows(stream, piece, size) if stream.parquet else _files(stream, piece, size)
    for places, contents, labels, files, rows in batches:
        images, kind = decode_images(places, contents.__getitem__, kind=kind, threads=1)
        yield Batch(images, labels, files, rows)


Encoded = tuple[list[str], list[bytes], np.ndarray | None, list[str], np.ndarray]
"""Names for messages, encoded images, labels, names of files, rows."""


def _parquet_rows(stream: Stream, piece: Piece, size: int) -> Iterator[Encoded]:
    (name,) = piece.files
    file = stream.where(name)
    try:
        with (
            stream.place.open(name) as opened,
            pq.ParquetFile(opened, buffer_size=READ_BYTES, pre_buffer=False) as stored,
        ):
            groups, skipped = _row_groups(stored.metadata, piece)
            image = column_of_images(stored.schema_arrow, file=file)
            columns = [f"{image}.bytes", *filter(None, [stream.labels])]
            row, end = piece.start - skipped, piece.start + piece.rows
            for found in stored.iter_batches(size, row_groups=groups, columns=columns):
                past = max(0, piece.start - row)
                batch = found.slice(past, max(0, end - row - past))
                row += found.num_rows
                start = row - found.num_rows + past
                if batch.num_rows:
                    yield _encoded(batch, stream, image=image, name=name, start=start)
                if row >= end:
                    return
    except pa.ArrowException as fault:
        raise unreadable(file, fault) from None
    raise DataError(f"{file}: found rows to {row}; accepted are {end}, as when it was listed")


def _row_groups(metadata: pq.FileMetaData, piece: Piece) -> tuple[list[int], int]:
    """Row groups that hold a piece, and how many rows before it they hold."""
    groups: list[int] = []
    first = skipped = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if first < piece.start + piece.rows and first + rows > piece.start:
            if not groups:
                skipped = piece.start - first
            groups.append(group)
        first += rows
    return groups, skipped


def _encoded(
    batch: pa.RecordBatch, stream: Stream, *, image: str, name: str, start: int
) -> Encoded:
    file = stream.where(name)
    contents = contents_of(batch.column(image), row=start, where=f"{file}: {image}")
    labels = None
    if stream.labels is not None:
        where = f"{file}: {stream.labels}"
        labels = labels_of(batch.column(stream.labels), row=start, where=where)
    rows = np.arange(start, start + batch.num_rows)
    places = [f"{file}: {image}[{row}]" for row in rows]
    return places, contents, labels, [name] * batch.num_rows, rows


def _files(stream: Stream, piece: Piece, size: int) -> Iterator[Encoded]:
    classes = {name: label for label, name in enumerate(stream.classes or ())}
    for start in range(0, piece.rows, size):
        names = list(piece.files[start : start + size])
        contents = []
        for name in names:
            with stream.place.open(name) as opened:
                contents.append(whole_image(opened, name=stream.where(name)))
        labels = None
        if stream.labels is not None:
            labels = np.array([classes[class_folder(name)] for name in names], dtype=np.int64)
        places = [stream.where(name) for name in names]
        yield places, contents, labels, names, np.zeros(len(names), dtype=np.int64)
