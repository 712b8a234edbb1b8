"""Parquet in Hugging Face's image layout: a column of encoded images and one of labels.

Source: Hugging Face, "Image dataset" and "Structure your repository", documentation of Datasets:
an image is a struct of `bytes` and `path`; a file belongs to the part that its name holds as a
word; the names of classes are in the schema's metadata under `huggingface`.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import DataError
from workers.sources.encoded_images import ImageKind, decode_images
from workers.sources.source import (
    Part,
    Source,
    accepted_labels,
    accepted_names,
    is_folder,
    unreadable,
)

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label", "coarse_label")
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
            piece, all_names[file], kind = _read_file(file, label_column=label_column, kind=kind)
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
    path: Path, *, label_column: str | None, kind: ImageKind | None
) -> tuple[Part, tuple[str, ...] | None, ImageKind]:
    """Examples and names of the classes of one file, and the kind of its images."""
    pixels, labels = [], []
    row = 0
    try:
        with pq.ParquetFile(path) as stored:
            image, label = columns_of(stored.schema_arrow, path=path, label_column=label_column)
            names = class_names_of(stored.schema_arrow, label, path=path)
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


def columns_of(schema: pa.Schema, *, path: Path, label_column: str | None) -> tuple[str, str]:
    """Names of the columns of images and labels."""
    found = ", ".join(schema.names) or "none"
    wanted = LABEL_COLUMNS if label_column is None else (label_column,)
    images = [name for name in schema.names if name in IMAGE_COLUMNS]
    labels = [name for name in schema.names if name in wanted]
    if len(images) != 1:
        raise DataError(
            f"{path}: found the columns {found}; accepted is one of images: "
            f"{' or '.join(IMAGE_COLUMNS)}"
        )
    if len(labels) != 1:
        raise DataError(
            f"{path}: found the columns {found}; accepted is one of labels: "
            f"{' or '.join(wanted)}" + ("; choose with data.label_column" if labels else "")
        )
    image, label = schema.field(images[0]), schema.field(labels[0])
    if not pa.types.is_struct(image.type) or image.type.get_field_index("bytes") < 0:
        raise DataError(
            f"{path}: {image.name}: found type {image.type}; accepted is a struct of bytes and path"
        )
    if not pa.types.is_integer(label.type):
        raise DataError(f"{path}: {label.name}: found type {label.type}; accepted are integers")
    return image.name, label.name


def class_names_of(schema: pa.Schema, label: str, *, path: Path) -> tuple[str, ...] | None:
    """Names of the classes that Hugging Face's metadata give to a column, if they do."""
    stored = (schema.metadata or {}).get(b"huggingface")
    if stored is None:
        return None
    where = f"{path}: metadata huggingface"
    try:
        node: Any = json.loads(stored)
    except ValueError as fault:
        raise unreadable(where, fault) from None
    for key in ("info", "features", label, "names"):
        node = node.get(key) if isinstance(node, dict) else None
    if node is None:
        return None
    if not isinstance(node, list):
        raise DataError(f"{where}: found the class names {node!r}; accepted is a list of texts")
    return accepted_names(node, where=where)


def contents_of(column: pa.StructArray, *, row: int, where: str) -> list[bytes]:
    """The encoded images of a column; each must be in the file itself."""
    contents: list[bytes | None] = [
        None if image is None else image["bytes"] for image in column.to_pylist()
    ]
    for i, content in enumerate(contents):
        if not isinstance(content, bytes):
            raise DataError(f"{where}[{row + i}]: found no bytes; accepted are embedded images")
    return [content for content in contents if content is not None]


def labels_of(column: pa.Array, *, row: int, where: str) -> np.ndarray:
    """Labels of a column, none of which may be missing."""
    if column.null_count:
        missing = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"{where}[{row + missing}]: found no label; accepted are integers")
    return accepted_labels(column.to_numpy(), where=where, first=row)
