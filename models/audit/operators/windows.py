"""Windows over an image: where they lie, read and written tap by tap.

Nothing is taken from a formula: how many windows an entry is in, and how much of a window is
padding, is counted by writing ones through the very places that are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.audit.node import Node

MOST_READ = 2**20
"""Entries of all windows along an axis together."""
Index = tuple[Any, ...]
"""Of the last axes of an array."""


@dataclass(frozen=True)
class Windows:
    """Windows along each axis behind batch and channels.

    Tap a of window o reads entry stride · o + dilation · a - before; around the image lies padding.
    """

    sides: tuple[int, ...]
    counts: tuple[int, ...]
    taps: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]

    @property
    def reaches(self) -> tuple[int, ...]:
        """Entries from the first tap of a window to its last, axis by axis."""
        return tuple((t - 1) * d + 1 for t, d in zip(self.taps, self.dilations, strict=True))

    @property
    def spans(self) -> tuple[int, ...]:
        """Entries from the first to the last that all windows together can read."""
        rows = zip(self.counts, self.strides, self.reaches, strict=True)
        return tuple((count - 1) * stride + reach for count, stride, reach in rows)

    def tapped(self) -> Iterator[tuple[Index, Index]]:
        """Each tap, and the entries of the padded image that it reads, window by window."""
        for tap in np.ndindex(*self.taps):
            rows = zip(tap, self.dilations, self.counts, self.strides, strict=True)
            places = (
                slice(at * dilation, at * dilation + (count - 1) * stride + 1, stride)
                for at, dilation, count, stride in rows
            )
            yield (..., *tap), (..., *places)

    def apart(self) -> list["Windows"]:
        """The windows along each axis by itself: those of several are products of them."""
        columns = zip(
            self.sides,
            self.counts,
            self.taps,
            self.strides,
            self.dilations,
            self.before,
            strict=True,
        )
        return [Windows(*((entry,) for entry in column)) for column in columns]

    @property
    def around(self) -> tuple[int, ...]:
        """Sides of the image with all that windows reach around it."""
        rows = zip(self.spans, self.before, self.sides, strict=True)
        return tuple(max(span, before + side) for span, before, side in rows)

    def blank(self, *leading: int) -> np.ndarray:
        """Zeros to write into, of an image with all that windows reach around it."""
        return np.zeros((*leading, *self.around))

    def read(self, x: np.ndarray, *, fill: float = 0.0) -> Iterator[np.ndarray]:
        """What each tap reads, of the shape of the windows; `fill` where there is no image."""
        image = self.blank(*x.shape[: -len(self.sides)]) + fill
        self.cut(image)[...] = x
        for _, places in self.tapped():
            yield image[places]

    def written(self, weights: np.ndarray) -> np.ndarray:
        """Sum of the weights of the windows that each entry of the image is in."""
        total = self.blank(*weights.shape[: -len(self.sides)])
        for _, places in self.tapped():
            total[places] += weights
        return self.cut(total)

    def cut(self, total: np.ndarray) -> np.ndarray:
        """The image without what is around it, as a view."""
        rows = zip(self.before, self.sides, strict=True)
        inside: Index = (..., *(slice(before, before + side) for before, side in rows))
        return total[inside]

    def filled(self) -> np.ndarray:
        """How many entries of the image each window reads."""
        return np.asarray(sum(self.read(np.ones(self.sides))))

    def most_readers(self) -> int:
        """The largest number of windows that an entry is in, a tap counted by itself."""
        return int(self.written(np.ones(self.counts)).max(initial=0))


def windows_of(
    node: Node, sides: tuple[int, ...], taps: tuple[int, ...], *, ceil: bool = False
) -> Windows:
    """The windows that the attributes of a Conv or a pooling lay over an image."""
    count = len(sides)
    strides = tuple(node.row("strides", count, default=1, least=1))
    dilations = tuple(node.row("dilations", count, default=1, least=1))
    if len(taps) != count or min(taps) < 1:
        raise node.refuse("a kernel of another shape")
    bare = Windows(sides, (1,) * count, taps, strides, dilations, (0,) * count)
    before, behind = _pads(node, bare, ceil=ceil)
    counts = []
    for at, side in enumerate(sides):
        free = side + before[at] + behind[at] - bare.reaches[at]
        if free < 0:
            raise node.refuse("a kernel that does not fit")
        counts.append((-(-free // strides[at]) if ceil else free // strides[at]) + 1)
        if counts[-1] * taps[at] > MOST_READ:
            raise node.refuse(f"{counts[-1]} windows of {taps[at]} entries along an axis")
    found = replace(bare, counts=tuple(counts), before=tuple(before))
    node.fits((node.shape()[0], *found.around))
    return found


def _pads(node: Node, bare: Windows, *, ceil: bool) -> tuple[list[int], list[int]]:
    """Padding before and behind each axis, as told or as auto_pad says."""
    count = len(bare.sides)
    told = node.row("pads", 2 * count, default=0, least=0)
    way = node.attributes.get("auto_pad", b"NOTSET")
    if way == b"NOTSET":
        return told[:count], told[count:]
    if any(told) or ceil or way not in (b"VALID", b"SAME_UPPER", b"SAME_LOWER"):
        raise node.refuse(f"auto_pad {way.decode()} beside pads or ceil_mode")
    if way == b"VALID":
        return [0] * count, [0] * count
    if max(bare.dilations) > 1:
        raise node.refuse("auto_pad with dilations")
    missing = [
        (-(-side // stride) - 1) * stride + reach - side
        for side, stride, reach in zip(bare.sides, bare.strides, bare.reaches, strict=True)
    ]
    if min(missing) < -1:
        raise node.refuse("auto_pad with gaps between windows")
    total = [max(0, each) for each in missing]
    less, more = [each // 2 for each in total], [each - each // 2 for each in total]
    return (less, more) if way == b"SAME_UPPER" else (more, less)
