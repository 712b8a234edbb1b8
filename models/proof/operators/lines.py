"""Windows along an axis that are listed entry by entry, told again as a start, a step and a gap.

What is listed is what counts: a line is made of the list and held against it, entry by entry, so
that reading by slices gives what gathering by the list would.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

PAD = -1
"""Stands in an index array for a constant."""
Windows = tuple[tuple[int, ...], ...]
"""The entries of an axis behind each entry of the result; `PAD` is padding."""


@dataclass(frozen=True)
class Line:
    """Windows of which tap a of window o is entry stride · o + dilation · a - before.

    Attributes:
        count: of windows.
        taps: of a window.
        stride: between two windows.
        dilation: between two taps.
        before: entries of padding before the axis that the first window reads.
        side: entries of the axis.
    """

    count: int
    taps: int
    stride: int
    dilation: int
    before: int
    side: int

    def listed(self) -> Iterator[tuple[int, ...]]:
        """The windows, one after the other."""
        for window in range(self.count):
            first = self.stride * window - self.before
            entries = (first + self.dilation * tap for tap in range(self.taps))
            yield tuple(entry if 0 <= entry < self.side else PAD for entry in entries)

    def surrounded(self, x: Tensor, axis: int, *, filled_with: float) -> Tensor:
        """As much of an axis as windows read, padding included."""
        reach = self.stride * (self.count - 1) + self.dilation * (self.taps - 1) + 1
        behind = reach - self.before - self.side
        if self.before == 0 and behind <= 0:
            return x.narrow(axis, 0, reach)
        around = [0, 0] * (x.dim() - axis - 1) + [self.before, behind]
        return functional.pad(x, around, value=filled_with)

    def read(self, x: Tensor, axis: int) -> Iterator[Tensor]:
        """What each tap of all windows reads, of an axis that was surrounded."""
        for tap in range(self.taps):
            first = self.dilation * tap
            places = slice(first, first + self.stride * (self.count - 1) + 1, self.stride)
            yield x[(slice(None),) * axis + (places,)]


def line_of(windows: Windows, side: int) -> Line | None:
    """The line that windows lie on, for an axis of so many entries; None where they lie on none."""
    inside = [
        [(tap, entry) for tap, entry in enumerate(window) if entry != PAD] for window in windows
    ]
    if not all(inside):
        return None
    wide = max(inside, key=len)
    gap = wide[-1][0] - wide[0][0]
    dilation = (wide[-1][1] - wide[0][1]) // gap if gap else side
    starts = [window[0][1] - dilation * window[0][0] for window in inside]
    stride = starts[1] - starts[0] if len(starts) > 1 else 1
    if dilation < 1 or stride < 1 or starts[0] > 0:
        return None
    line = Line(len(windows), len(windows[0]), stride, dilation, -starts[0], side)
    return line if tuple(line.listed()) == windows else None
