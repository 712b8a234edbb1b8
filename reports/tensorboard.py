"""Metrics as event files that TensorBoard reads, one file an epoch: whole, and never changed.

A file is a sequence of records: length, a checksum of the length, bytes, a checksum of the bytes.
The bytes are a protocol buffer `Event`, of which four fields are used: `wall_time` (1), `step` (2),
`file_version` (3) in the first record and `summary` (5) in the others, with a `tag` (1) and a
`simple_value` (2) in each value (1).  Written here since tensorboardX brings torch with it, seconds
of start-up for a process that trains nothing itself; tests read the files with its own classes.
"""

import struct
from collections.abc import Mapping
from functools import cache
from typing import Any

VERSION = b"brain.Event:2"
CASTAGNOLI = 0x82F63B78


def event_file(metrics: Mapping[str, Any], *, step: int, seconds: float) -> bytes:
    """An event file with every number of an epoch's metrics.

    Args:
        metrics: numbers, and lists of numbers, by name; a list's are told apart by their place.
        step: where they stand on the axis, 0 or more.
        seconds: when, since 1970.
    """
    wall_time = b"\x09" + struct.pack("<d", seconds)
    at = wall_time + b"\x10" + _varint(step)
    events = [wall_time + _bytes(3, VERSION)]
    for name, value in metrics.items():
        numbers = enumerate(value) if isinstance(value, list) else [("", value)]
        for place, number in numbers:
            tag = f"{name}/{place}" if place != "" else name
            simple_value = b"\x15" + struct.pack("<f", number)
            events.append(at + _bytes(5, _bytes(1, _bytes(1, tag.encode()) + simple_value)))
    return b"".join(map(_record, events))


def _record(event: bytes) -> bytes:
    length = struct.pack("<Q", len(event))
    return length + _masked_checksum(length) + event + _masked_checksum(event)


def _bytes(field: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes."""
    return bytes([field << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def _masked_checksum(content: bytes) -> bytes:
    """CRC-32C, turned by 15 bits and offset, so that a checksum of checksums stays one."""
    remainder = 0xFFFFFFFF
    for byte in content:
        remainder = _table()[(remainder ^ byte) & 255] ^ remainder >> 8
    checksum = remainder ^ 0xFFFFFFFF
    turned = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return struct.pack("<I", (turned + 0xA282EAD8) & 0xFFFFFFFF)


@cache
def _table() -> list[int]:
    """Remainders of every byte."""
    remainders = []
    for byte in range(256):
        remainder = byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (CASTAGNOLI if remainder & 1 else 0)
        remainders.append(remainder)
    return remainders
