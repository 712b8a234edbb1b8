"""Images without end, in order: Parquet files or folders of images, listed but not read.

All of them count, whatever part their names speak of: a row says which file it comes from.  Files
are in the order of their names, and pieces are cut from that order alone, so neither the number of
workers nor the system decides what a piece holds.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import DataError
from workers.sources.folder import LEFT_BY_SYSTEMS, PART_FOLDERS, SUFFIXES
from workers.sources.parquet_columns import class_names, column_of_images, column_of_labels
from workers.sources.source import accepted_names, unreadable
from workers.storage.places import Place


@dataclass(frozen=True)
class Piece:
    """Rows that are answered together: the same in every evaluation of the same data.

    Attributes:
        number: place among the pieces.
        first: place of its first row in the data.
        files: one Parquet file, or one image file to a row.
        start: its first row in the Parquet file; 0 for image files.
        rows: how many there are.
    """

    number: int
    first: int
    files: tuple[str, ...]
    start: int
    rows: int


@dataclass(frozen=True)
class Stream:
    """What there is to evaluate.

    Attributes:
        place: where the files lie.
        parquet: whether they are Parquet files; else each is an image.
        files: name, bytes and rows of each, in order.
        classes: names of the classes, where the data has them.
        labels: column of the labels in Parquet; for images a word if their folders are classes.
    """

    place: Place
    parquet: bool
    files: tuple[tuple[str, int, int], ...]
    classes: tuple[str, ...] | None
    labels: str | None

    def __len__(self) -> int:
        return sum(rows for _, _, rows in self.files)

    def where(self, name: str) -> str:
        """A file's name, as a user can look it up."""
        return f"{self.place}/{name}" if name else str(self.place)

    def pieces(self, size: int) -> list[Piece]:
        """All rows in pieces of at most `size`, none across two Parquet files."""
        cut: list[Piece] = []
        first = 0
        if not self.parquet:
            names = [name for name, _, _ in self.files]
            for start in range(0, len(names), size):
                part = tuple(names[start : start + size])
                cut.append(Piece(len(cut), start, part, 0, len(part)))
            return cut
        for name, _, rows in self.files:
            for start in range(0, rows, size):
                count = min(size, rows - start)
                cut.append(Piece(len(cut), first + start, (name,), start, count))
            first += rows
        return cut

    def describe(self) -> dict[str, object]:
        """What tells it from other data without reading it all: names, bytes, rows, classes."""
        listing = json.dumps(self.files, ensure_ascii=False).encode()
        return {
            "kind": "parquet" if self.parquet else "folder",
            "rows": len(self),
            "files": len(self.files),
            "bytes": sum(size for _, size, _ in self.files),
            "listing_sha256": hashlib.sha256(listing).hexdigest(),
            "classes": None if self.classes is None else list(self.classes),
            "labelled": self.labels is not None,
        }


def list_parquet(place: Place, *, label_column: str | None) -> Stream:
    """Every Parquet file of a place; their footers are read and nothing else.

    Raises:
        DataError: If there is none, one has no row, or they do not fit each other.
        OSError: For what the system does not let us read.
    """
    files = []
    kinds: dict[tuple[tuple[str, ...] | None, str | None], str] = {}
    for name, size in sorted(place.names()):
        if not (name or str(place)).endswith(".parquet"):
            continue
        file = f"{place}/{name}" if name else str(place)
        try:
            with place.open(name) as opened, pq.ParquetFile(opened) as stored:
                schema, rows = stored.schema_arrow, stored.metadata.num_rows
        except (pa.ArrowException, OSError) as fault:
            raise unreadable(file, fault) from None
        column_of_images(schema, file=file)
        label = column_of_labels(schema, file=file, wanted=label_column, required=False)
        names = None if label is None else class_names(schema, label, file=file)
        kinds.setdefault((names, label), file)
        if len(kinds) > 1:
            first, *_ = kinds.items()
            raise DataError(
                f"{file}: found the classes {names} in the column {label}; accepted are "
                f"{first[0][0]} in {first[0][1]}, as in {first[1]}"
            )
        files.append((name, size, rows))
    if not sum(rows for _, _, rows in files):
        raise DataError(f"{place}: found no row in a .parquet file; accepted are one or more")
    ((names, label),) = kinds
    return Stream(place, True, tuple(files), names, label)


def list_images(place: Place) -> Stream:
    """Every image below a folder: `name.png`, `class/name.png` or `part/class/name.png`.

    Raises:
        DataError: If there is none, a file is no image by its name, or they lie at several depths.
        OSError: For what the system does not let us read.
    """
    files = []
    for name, size in sorted(place.names()):
        path = PurePosixPath(name)
        if path.name in LEFT_BY_SYSTEMS:
            continue
        if path.suffix.lower() not in SUFFIXES or not name.isprintable():
            raise DataError(
                f"{place}: found the file {name!r}; "
                f"accepted are files that end in {', '.join(SUFFIXES)}"
            )
        files.append((name, size, 1))
    if not files:
        raise DataError(f"{place}: found no image; accepted are one or more")
    parents = [PurePosixPath(name).parts[:-1] for name, _, _ in files]
    _check_depth(place, parents)
    if not parents[0]:
        return Stream(place, False, tuple(files), None, None)
    names = accepted_names(sorted({parts[-1] for parts in parents}), where=str(place))
    return Stream(place, False, tuple(files), names, "folder")


def class_folder(name: str) -> str:
    """The class that an image's name speaks of."""
    return PurePosixPath(name).parts[-2]


def _check_depth(place: Place, parents: Sequence[tuple[str, ...]]) -> None:
    depths = {len(parts) for parts in parents}
    parts = {path[0] for path in parents if len(path) == 2}
    if len(depths) > 1 or max(depths) > 2 or not parts <= set(PART_FOLDERS):
        raise DataError(
            f"{place}: found images in folders that can be read in several ways; accepted are "
            "name.png, class/name.png, or part/class/name.png with the parts "
            f"{', '.join(PART_FOLDERS)}"
        )
