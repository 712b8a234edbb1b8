"""Parquet in Hugging Face's image layout: a column of encoded images and one of labels.

Source: Hugging Face, "Image dataset" and "Structure your repository", documentation of Datasets:
an image is a struct of `bytes` and `path`; a file belongs to the part that its name holds as a
word; the names of classes are in the schema's metadata under `huggingface`.
"""

import re
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
from workers.sources.source import Part, Source, is_folder, unreadable

PART_WORDS = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
}
ROWS = 4096  # read and decoded at a time


def read_parquet(
    path: Path, *, label_column: str | None = None, buffer: int | None = None
) -> Source:
    """The parts of a Parquet file, or of a folder of them, or of its subfolder `data`.

    Args:
        path: one file is one part, to be cut; in a folder, names tell the parts:
            `train-00000-of-00002.parquet`, `test.parquet`.
        label_column: which column holds the labels; needed where several could.
        buffer: of the training part, the most images that are held; all if left out.

    Raises:
        DataError: For files that do not fit each other, or are not in this layout.
    """
    parts = {}
    kind = None
    all_names: dict[Path, tuple[str, ...] | None] = {}
    for name, files in _part_files(path).items():
        if name == "train" and buffer is not None:
            from workers.sources.stored_parquet import stored_part

            parts[name], named, kind = stored_part(files, label_column=label_column, buffer=buffer)
            all_names |= named
            continue
        pieces = []
        for file in files:
            piece, all_names[file], kind = _read_file(file, wanted=label_column, kind=kind)
            pieces.append(piece)
        parts[name] = Part(
            np.concatenate([piece.images for piece in pieces]),
            np.concatenate([piece.labels for piece in pieces]),
            [place for piece in pieces for place in piece.files],
        )
    first, names = next(iter(all_names.items()))
    for file, found in all_names.items():
        if found != names:
            raise DataError(
                f"{file}: found the classes {found}; accepted are {names}, as in {first}"
            )
    return Source(parts, names)


def _part_files(path: Path) -> dict[str, list[Path]]:
    """Files of each part in the order of their names, `train` first."""
    if not is_folder(path):
        return {"train": [path]}
    files = _parquet_files(path)
    if not files and (path / "data").is_dir():
        files = _parquet_files(path / "data")
    parts: dict[str, list[Path]] = {"train": []}
    for file in files:
        words = {word for word in re.split(r"[^a-z]+", file.stem.lower()) if word in PART_WORDS}
        if len(words) != 1:
            raise DataError(
                f"{file}: found a name that tells no part, or two; "
                f"accepted is one of the words {', '.join(PART_WORDS)} in it"
            )
        parts.setdefault(PART_WORDS[words.pop()], []).append(file)
    if not parts["train"]:
        raise DataError(
            f"{path}: found {len(files)} Parquet files, none of a train part; accepted is a "
            "folder, or its subfolder data, with train*.parquet"
        )
    for part in parts.values():
        _check_shards(part)
    return parts


def _parquet_files(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix == ".parquet")
    return sorted(files, key=lambda path: path.name)


def _check_shards(files: list[Path]) -> None:
    """Refuse a part whose names say that pieces are missing."""
    for file in files:
        counted = re.search(r"-(\d+)-of-(\d+)$", file.stem)
        if counted and int(counted[2]) != len(files):
            raise DataError(
                f"{file}: found {len(files)} files of a part that has {int(counted[2])}; "
                "accepted are all of them"
            )


def _read_file(
    path: Path, *, wanted: str | None, kind: ImageKind | None
) -> tuple[Part, tuple[str, ...] | None, ImageKind]:
    """Examples and names of the classes of one file, and the kind of its images."""
    pixels, labels = [], []
    row = 0
    try:
        with pq.ParquetFile(path) as stored:
            schema, file = stored.schema_arrow, str(path)
            image = column_of_images(schema, file=file)
            label = column_of_labels(schema, file=file, wanted=wanted, required=True)
            names = class_names(schema, label or "", file=file)
            for batch in stored.iter_batches(ROWS, columns=[f"{image}.bytes", label]):
                if not batch.num_rows:  # an empty row group
                    continue
                contents = contents_of(batch.column(image), row=row, where=f"{path}: {image}")
                labels.append(labels_of(batch.column(label), row=row, where=f"{path}: {label}"))
                places = [f"{path}: {image}[{row + i}]" for i in range(len(contents))]
                decoded, kind = decode_images(places, contents.__getitem__, kind=kind)
                pixels.append(decoded)
                row += len(contents)
    except (pa.ArrowException, OSError) as fault:
        raise unreadable(path, fault) from None
    if kind is None or not pixels:
        raise DataError(f"{path}: found no row; accepted is a part that is not empty")
    examples = Part(np.concatenate(pixels), np.concatenate(labels), [(f"{path}: {label}", row)])
    return examples, names, kind
