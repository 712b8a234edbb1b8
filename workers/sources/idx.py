"""The idx format of MNIST and its kin: a magic number, the sizes, then bytes.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section
"File formats": two zero bytes, the type (8 is unsigned byte), the number of dimensions, each
dimension as a big-endian 32-bit integer, the values.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from models.errors import DataError
from workers.sources.source import unreadable

UNSIGNED_BYTE = 8
GZIP_MAGIC = b"\x1f\x8b"


def idx_size(shape: tuple[int, ...]) -> int:
    """Bytes of an idx file that holds an array of this shape."""
    return 4 + 4 * len(shape) + math.prod(shape)


def read_idx_file(path: Path, *, shape: tuple[int, ...]) -> bytes:
    """Content of an idx file, inflated where it is a gzip file, checked by `parse_idx`.

    Not more is inflated than `shape` needs, so a bomb costs nothing.

    Raises:
        DataError: If it cannot be read, or is not such a file.
    """
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == GZIP_MAGIC
            stream.seek(0)
            most = idx_size(shape) + 1
            content = inflated(stream, most=most) if packed else stream.read(most)
    except (OSError, EOFError, zlib.error) as fault:
        raise unreadable(path, fault) from None
    parse_idx(content, shape=shape, where=str(path))
    return content


def inflated(stream: BinaryIO, *, most: int) -> bytes:
    """The first `most` bytes of what a gzip stream holds."""
    with gzip.GzipFile(fileobj=stream, mode="rb") as unpacked:
        return unpacked.read(most)


def parse_idx(content: bytes, *, shape: tuple[int, ...], where: str) -> np.ndarray:
    """The array of an idx file of unsigned bytes, which must have this very shape.

    Returns:
        uint8, a read-only view of `content`.

    Raises:
        DataError: For another magic number, other sizes, too few bytes or too many.
    """
    magic = struct.pack(">HBB", 0, UNSIGNED_BYTE, len(shape))
    if content[:4] != magic:
        raise DataError(
            f"{where}: found the magic number {content[:4].hex() or 'of no byte'}; "
            f"accepted is {magic.hex()} (idx, unsigned bytes, {len(shape)} dimensions)"
        )
    header = 4 + 4 * len(shape)
    if len(content) < header:
        raise DataError(f"{where}: found {len(content)} bytes; accepted are {idx_size(shape)}")
    found = struct.unpack(f">{len(shape)}I", content[4:header])
    if found != shape:
        raise DataError(f"{where}: found an array of shape {found}; accepted is {shape}")
    if len(content) != idx_size(shape):
        wrong = "more" if len(content) > idx_size(shape) else f"{len(content)}"
        raise DataError(f"{where}: found {wrong} bytes; accepted are {idx_size(shape)}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)
