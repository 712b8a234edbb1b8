"""An ONNX file read whole: weights that lie in files beside it are taken in.

Exporters write large weights into a file of their own by default.  Whoever wrote the model wrote
the name of that file too, so it is read only from the model's own folder, and only as many bytes
as the weight's shape needs: a short file that claims a huge weight costs nothing.
"""

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError

from models.errors import ModelError

MOST_BYTES = 2**31 - 1
"""Protobuf holds no larger message."""
KEYS = ("location", "offset", "length", "checksum")
WIDTHS: dict[int, int] = {
    onnx.TensorProto.FLOAT: 4,
    onnx.TensorProto.DOUBLE: 8,
    onnx.TensorProto.FLOAT16: 2,
    onnx.TensorProto.INT32: 4,
    onnx.TensorProto.INT64: 8,
    onnx.TensorProto.UINT8: 1,
    onnx.TensorProto.BOOL: 1,
}
"""Bytes of a number, by its type; not all of these are accepted as weights."""
LEAVE_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def read_model_file(path: Path) -> bytes:
    """A model's bytes with every weight inside; a file without external data, as it is.

    Raises:
        ModelError: If the file or one of those that it names is missing, leads out of the model's
            folder, is too short, or all of them together are too large.
    """
    content = _content(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ModelError(f"{path}: not an ONNX model, or cut off") from None
    outside = [tensor for tensor in _tensors(model.graph) if _is_outside(tensor)]
    if not outside:
        return content
    pieces = [_piece(tensor, path=path) for tensor in outside]
    total = len(content) + sum(length for _, _, length in pieces)
    if total > MOST_BYTES:
        raise _too_large(path, total)
    for tensor, (file, offset, length) in zip(outside, pieces, strict=True):
        tensor.raw_data = _read_piece(file, offset, length)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    return bytes(model.SerializeToString(deterministic=True))


def _content(path: Path) -> bytes:
    """The bytes of the file itself."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{path}: found no plain file; accepted is an ONNX file")
        if found.st_size > MOST_BYTES:
            raise _too_large(path, found.st_size)
        return path.read_bytes()
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise ModelError(f"{path}: {reason}; accepted is an ONNX file") from None


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Weights of a graph, and constants that its nodes hold."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _is_outside(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _piece(tensor: onnx.TensorProto, *, path: Path) -> tuple[Path, int, int]:
    """File, first byte and number of bytes of a weight, all of them known to be there."""
    where = f"{path}: weight {tensor.name!a}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) < len(tensor.external_data) or not entries.keys() <= set(KEYS):
        found = ", ".join(ascii(entry.key) for entry in tensor.external_data)
        raise ModelError(f"{where}: found the keys {found}; accepted are {', '.join(KEYS)}, once")
    location = entries.get("location", "")
    file = _inside(path, location, where=where)
    size = file.stat().st_size
    needed = _bytes_needed(tensor, where=where)
    offset = _number(entries.get("offset", "0"), where=f"{where}: offset")
    length = _number(entries.get("length", str(size - offset)), where=f"{where}: length")
    if length != needed:
        raise ModelError(
            f"{where}: found {length} bytes for the shape {list(tensor.dims)}; "
            f"accepted are {needed}"
        )
    if offset + length > size:
        raise ModelError(
            f"{where}: found bytes {offset} to {offset + length} of {location!a}, "
            f"which has {size}; accepted are bytes of the file"
        )
    return file, offset, length


def _inside(path: Path, location: str, *, where: str) -> Path:
    """The plain file at a location, which must lie in the model's folder, links followed."""
    parts = (*PurePosixPath(location).parts, *PureWindowsPath(location).parts)
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
    accepted = "accepted is a file in the model's own folder"
    if not location or not location.isprintable() or absolute or ".." in parts:
        raise ModelError(f"{where}: found the location {location!a}; {accepted}")
    folder = path.parent.resolve()
    try:
        file = (folder / location).resolve(strict=True)
        if not file.is_relative_to(folder):
            raise ModelError(f"{where}: found {location!a}, a link that leads out; {accepted}")
        if not file.is_file():
            raise ModelError(f"{where}: found {location!a}, which is no plain file; {accepted}")
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        raise ModelError(f"{where}: found no file {location!a}; {accepted}") from None
    return file


def _bytes_needed(tensor: onnx.TensorProto, *, where: str) -> int:
    """Bytes of a weight, from its shape and type alone."""
    kinds = {number: name for name, number in onnx.TensorProto.DataType.items()}
    if tensor.data_type not in WIDTHS:
        kind = kinds.get(tensor.data_type, f"number {tensor.data_type}")
        accepted = ", ".join(kinds[number] for number in WIDTHS)
        raise ModelError(f"{where}: found type {kind}; accepted are {accepted}")
    if any(side < 0 for side in tensor.dims):
        raise ModelError(f"{where}: found the shape {list(tensor.dims)}; accepted are lengths")
    return WIDTHS[tensor.data_type] * math.prod(int(side) for side in tensor.dims)


def _number(text: str, *, where: str) -> int:
    """A count of bytes, written in plain digits."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(f"{where}: found {text!a}; accepted is a number of bytes")
    return int(text)


def _read_piece(file: Path, offset: int, length: int) -> bytes:
    try:
        with open(file, "rb", opener=_without_links) as stored:
            stored.seek(offset)
            content = stored.read(length)
    except OSError as fault:
        raise ModelError(f"{file}: cannot be read: {fault.strerror}") from None
    if len(content) != length:
        raise ModelError(f"{file}: found {len(content)} bytes where {length} were; it has changed")
    return content


def _without_links(name: str, flags: int) -> int:
    """Open what was looked at, and no link that took its place."""
    return os.open(name, flags | LEAVE_NO_LINK)


def _too_large(path: Path, size: int) -> ModelError:
    return ModelError(
        f"{path}: found {size} bytes, weights included; accepted are at most {MOST_BYTES} (2 GiB), "
        "since no ONNX file in one piece can be larger"
    )
