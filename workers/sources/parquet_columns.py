"""The columns of Hugging Face's image layout: encoded images, and labels with names of classes.

Source: Hugging Face, "Image dataset", documentation of Datasets: an image is a struct of `bytes`
and `path`; the names of classes are in the schema's metadata under `huggingface`.
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from models.errors import DataError
from workers.sources.source import accepted_labels, accepted_names, unreadable

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label", "coarse_label")


def column_of_images(schema: pa.Schema, *, file: str) -> str:
    """Name of the column of images.

    Raises:
        DataError: If there is none, or several, or it is of another type.
    """
    images = [name for name in schema.names if name in IMAGE_COLUMNS]
    if len(images) != 1:
        raise DataError(
            f"{file}: found the columns {_found(schema)}; accepted is one of images: "
            f"{' or '.join(IMAGE_COLUMNS)}"
        )
    image = schema.field(images[0])
    if not pa.types.is_struct(image.type) or image.type.get_field_index("bytes") < 0:
        raise DataError(
            f"{file}: {image.name}: found type {image.type}; accepted is a struct of bytes and path"
        )
    return str(image.name)


def column_of_labels(
    schema: pa.Schema, *, file: str, wanted: str | None, required: bool
) -> str | None:
    """Name of the column of labels.

    Args:
        schema: of the file.
        file: for messages.
        wanted: the column that the job names.
        required: whether there has to be one; one that is named always has to be there.

    Raises:
        DataError: If there is none, or several, or it holds no integers.
    """
    accepted = LABEL_COLUMNS if wanted is None else (wanted,)
    labels = [name for name in schema.names if name in accepted]
    if not labels and wanted is None and not required:
        return None
    if len(labels) != 1:
        raise DataError(
            f"{file}: found the columns {_found(schema)}; accepted is one of labels: "
            f"{' or '.join(accepted)}" + ("; choose with data.label_column" if labels else "")
        )
    label = schema.field(labels[0])
    if not pa.types.is_integer(label.type):
        raise DataError(f"{file}: {label.name}: found type {label.type}; accepted are integers")
    return str(label.name)


def _found(schema: pa.Schema) -> str:
    return ", ".join(schema.names) or "none"


def class_names(schema: pa.Schema, label: str, *, file: str) -> tuple[str, ...] | None:
    """Names of the classes that Hugging Face's metadata give to a column, if they do.

    Raises:
        DataError: If the metadata cannot be read, or name them otherwise than as texts.
    """
    stored = (schema.metadata or {}).get(b"huggingface")
    if stored is None:
        return None
    where = f"{file}: metadata huggingface"
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
    """The encoded images of a column; each must be in the file itself.

    Args:
        column: a piece of it.
        row: place of its first row.
        where: file and column, for messages.
    """
    contents: list[bytes | None] = [
        None if image is None else image["bytes"] for image in column.to_pylist()
    ]
    for i, content in enumerate(contents):
        if not isinstance(content, bytes):
            raise DataError(f"{where}[{row + i}]: found no bytes; accepted are embedded images")
    return [content for content in contents if content is not None]


def labels_of(column: pa.Array, *, row: int, where: str) -> np.ndarray:
    """Labels of a piece of a column; see `contents_of`."""
    if column.null_count:
        missing = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"{where}[{row + missing}]: found no label; accepted are integers")
    return accepted_labels(column.to_numpy(), where=where, first=row)
