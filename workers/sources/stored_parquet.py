"""A training part of Parquet files whose images stay there: labels are read, row groups found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import DataError
from workers.sources.encoded_images import ImageKind, decode_images
from workers.sources.parquet_columns import (
    class_names,
    column_of_images,
    column_of_labels,
    contents_of,
    labels_of,
)
from workers.sources.source import Part, unreadable
from workers.sources.stored_images import StoredImages


@dataclass(frozen=True)
class RowGroup:
    """Some rows of a file, stored together.

    Attributes:
        path: of the file.
        image: the column of images.
        number: of the group in its file.
        first: row of the file at which it begins.
        rows: how many.
    """

    path: Path
    image: str
    number: int
    first: int
    rows: int

    def read(self, kind: ImageKind | None) -> tuple[np.ndarray, ImageKind]:
        """Its images, of one kind, and the kind.

        Raises:
            DataError: If the file has changed, or for the first image that cannot be accepted.
        """
        try:
            with pq.ParquetFile(self.path) as stored:
                if self.number >= stored.num_row_groups:
                    raise self._changed()
                table = stored.read_row_group(self.number, columns=[f"{self.image}.bytes"])
        except (pa.ArrowException, OSError) as fault:
            raise unreadable(self.path, fault) from None
        if len(table) != self.rows:
            raise self._changed()
        where = f"{self.path}: {self.image}"
        column = table.column(self.image).combine_chunks()
        contents = contents_of(column, row=self.first, where=where)
        places = [f"{where}[{self.first + row}]" for row in range(self.rows)]
        return decode_images(places, contents.__getitem__, kind=kind)

    def _changed(self) -> DataError:
        return DataError(f"{self.path}: found other rows than when the run began")


@dataclass(frozen=True)
class RowGroups:
    """Reads row groups of files, each a chunk."""

    groups: list[RowGroup]
    kind: ImageKind

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each."""
        return np.array([group.rows for group in self.groups], dtype=np.int64)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.kind.image_shape

    def place(self, chunk: int) -> str:
        """File and number of a group."""
        return f"{self.groups[chunk].path}: row group {self.groups[chunk].number}"

    def read(self, chunks: Sequence[int]) -> list[np.ndarray]:
        """Images of some groups."""
        return [self.groups[chunk].read(self.kind)[0] for chunk in chunks]


def stored_part(
    files: list[Path], *, label_column: str | None, buffer: int
) -> tuple[Part, dict[Path, tuple[str, ...] | None], ImageKind]:
    """The training part of some files, the names of the classes in each, the kind of its images.

    Raises:
        DataError: For a file that is not in the layout, is empty, or has a row group that is larger
            than the buffer.
    """
    groups: list[RowGroup] = []
    labels, places, names = [], [], {}
    for path in files:
        try:
            with pq.ParquetFile(path) as stored:
                schema, file = stored.schema_arrow, str(path)
                image = column_of_images(schema, file=file)
                label = column_of_labels(schema, file=file, wanted=label_column, required=True)
                names[path] = class_names(schema, label or "", file=file)
                found = _groups(stored, path.absolute(), image)
                column = stored.read(columns=[label]).column(label).combine_chunks()
        except (pa.ArrowException, OSError) as fault:
            raise unreadable(path, fault) from None
        if not found:
            raise DataError(f"{path}: found no row; accepted is a part that is not empty")
        groups += found
        labels.append(labels_of(column, row=0, where=f"{path}: {label}"))
        places.append((f"{path}: {label}", len(column)))
    _, kind = groups[0].read(None)
    stored_images = StoredImages(RowGroups(groups, kind), buffer=buffer)
    return Part(stored_images, np.concatenate(labels), places), names, kind


def _groups(stored: pq.ParquetFile, path: Path, image: str) -> list[RowGroup]:
    """Groups of a file that have rows."""
    found, first = [], 0
    for number in range(stored.num_row_groups):
        rows = stored.metadata.row_group(number).num_rows
        if rows:
            found.append(RowGroup(path, image, number, first, rows))
        first += rows
    return found
