"""Pooling: MaxPool, AveragePool and LpPool with p = 2, over windows that are listed.

A window of several axes is a product of one window an axis, so sums, norms and extremes are taken
axis by axis.  What is bounded is counted from the same list that `run` gathers by.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from models.proof.operators.assumed import assumed_stretch
from models.proof.operators.lines import PAD, Line, Windows, line_of
from models.proof.operators.operator import Operator, Stretch
from models.proof.operators.selection import picked, uses
from models.proof.upward import up_sqrt

LARGEST: dict[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
"""By how many axes windows have."""
MOST_SLICES = 64
"""Taps that are read one after the other; more are gathered at once."""


@dataclass(frozen=True, kw_only=True)
class Pooling(Operator):
    """An operator over windows.

    Attributes:
        windows: along each axis behind the batch; None leaves an axis as it is.
    """

    windows: tuple[Windows | None, ...]

    @cached_property
    def lines(self) -> dict[tuple[int, int], Line | None]:
        """Lines that were found so far, by axis and its length."""
        return {}

    def line(self, x: Tensor, axis: int) -> Line | None:
        """How windows lie along an axis."""
        key = axis, x.shape[axis]
        if key not in self.lines:
            self.lines[key] = line_of(self.windows[axis - 1] or (), x.shape[axis])
        return self.lines[key]

    def gathered(self, x: Tensor, axis: int, *, filled_with: float) -> Tensor:
        """An axis as two: windows, and the entries of each."""
        line = self.line(x, axis)
        if line is not None and line.taps <= MOST_SLICES:
            x = line.surrounded(x, axis, filled_with=filled_with)
            if line.stride == line.taps and line.dilation == 1:  # side by side: nothing is copied
                together = x.narrow(axis, 0, line.count * line.taps)
                return together.reshape(
                    *x.shape[:axis], line.count, line.taps, *x.shape[axis + 1 :]
                )
            return torch.stack(list(line.read(x, axis)), dim=axis + 1)
        windows = self.windows[axis - 1] or ()
        flat = tuple(entry for window in windows for entry in window)
        taken = picked(x, axis, flat, filled_with=filled_with)
        sides = *x.shape[:axis], len(windows), len(windows[0]), *x.shape[axis + 1 :]
        return taken.reshape(sides)

    @property
    def pooled(self) -> tuple[int, ...]:
        """The axes that have windows, the batch counted as 0."""
        return tuple(axis for axis, found in enumerate(self.windows, start=1) if found is not None)

    @property
    def most_windows(self) -> int:
        """Largest number of windows that one entry is in."""
        chosen = [windows for windows in self.windows if windows is not None]
        return math.prod(
            max(uses(tuple(entry for window in windows for entry in window))) for windows in chosen
        )

    @property
    def size(self) -> int:
        """Entries of a window, padding included."""
        return math.prod(len(windows[0]) for windows in self.windows if windows is not None)


@dataclass(frozen=True, kw_only=True)
class MaxPool(Pooling):
    """The largest entry of each window; no window is padding alone."""

    def run(self, *values: Tensor) -> Tensor:
        """The largest of each window: at once where torch can, or one axis after the other."""
        x = values[0]
        lines = [self.line(x, axis) for axis in self.pooled]
        found = [line for line in lines if line is not None]
        if self.pooled == tuple(range(2, x.dim())) and len(found) == len(lines) in LARGEST:
            for axis, line in enumerate(found, start=2):
                x = line.surrounded(x, axis, filled_with=-math.inf)
            taps, strides, dilations = zip(
                *((line.taps, line.stride, line.dilation) for line in found), strict=True
            )
            return LARGEST[len(found)](x, taps, strides, dilation=dilations)
        for axis in self.pooled:
            x = self.gathered(x, axis, filled_with=-math.inf).max(axis + 1).values
        return x

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """A choice within each window moves no further than the window."""
        return Stretch(method="windows that an entry is in", factor=up_sqrt(self.most_windows))


@dataclass(frozen=True, kw_only=True)
class LpPool(Pooling):
    """The Euclidean norm of each window; padding counts as 0."""

    def run(self, *values: Tensor) -> Tensor:
        """Norms of norms, whose gradient at 0 is 0 and not NaN."""
        x = values[0]
        for axis in self.pooled:
            x = torch.linalg.vector_norm(self.gathered(x, axis, filled_with=0.0), dim=axis + 1)
        return x

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """The norm of a window moves no further than the window."""
        return assumed_stretch(
            self.kind,
            method="windows that an entry is in",
            factor=up_sqrt(self.most_windows),
            terms=self.size,
        )


@dataclass(frozen=True, kw_only=True)
class AveragePool(Pooling):
    """The sum of each window over a divisor.

    Attributes:
        divisors: of each window along each axis; their product divides.
    """

    divisors: tuple[tuple[int, ...] | None, ...]

    def run(self, *values: Tensor) -> Tensor:
        """Sums along one axis after the other, then one division."""
        x = values[0]
        total = torch.ones((), dtype=x.dtype, device=x.device)
        for axis in self.pooled:
            x = self.gathered(x, axis, filled_with=0.0).sum(axis + 1)
            divisors = torch.tensor(self.divisors[axis - 1], dtype=x.dtype, device=x.device)
            total = total * divisors.view(-1, *[1] * (x.dim() - axis - 1))
        return x / total

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """Rows add up to 1 at most and columns to Σ 1/n_o over the windows o of an entry.

        σ² is at most the largest row sum times the largest column sum.  Windows at the border may
        have a smaller divisor, so no formula of the kernel's size would do.
        """
        columns = self.largest_share
        factor = up_sqrt(columns.numerator, columns.denominator)
        return average_stretch(factor, terms=self.size)

    @property
    def largest_share(self) -> Fraction:
        """The largest Σ 1/n_o over the windows o of an entry, n_o their divisors."""
        share = Fraction(1)
        for windows, divisors in zip(self.windows, self.divisors, strict=True):
            if windows is not None and divisors is not None:
                share *= _largest_share(windows, divisors)
        return share


def average_stretch(factor: float, *, terms: int) -> Stretch:
    """A sum of `terms` entries with positive weights, which may be divided at the end."""
    return Stretch(
        method="row and column sums",
        factor=factor,
        roundings=terms + 2,
        absolute=factor,
        terms=terms,
        longest=2.0**125 / math.sqrt(terms),  # the sum before its division must not overflow
    )


def _largest_share(windows: Windows, divisors: tuple[int, ...]) -> Fraction:
    """The largest Σ 1/n_o over the windows o that an entry is in."""
    shares: defaultdict[int, Fraction] = defaultdict(Fraction)
    for window, divisor in zip(windows, divisors, strict=True):
        for entry in window:
            if entry != PAD:
                shares[entry] += Fraction(1, divisor)
    return max(shares.values())
