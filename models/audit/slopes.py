"""The steepest slope of a function of one number, proved by cutting the line into cells.

A formula is written once and read twice: on arrays it is evaluated, on `Cells` it gives for each
cell an interval that holds its values, one that holds its slopes, and a bound on what computing it
in float64 loses.  Cells whose slopes may exceed the steepest one that was seen are halved, until
none is left.  Intervals are widened by 2⁻⁴⁰ of their ends at every step, far more than float64
and its library functions lose.

Nothing is known of the functions beside their values, their monotony and where each is steepest.

Source: R. Moore, R. Kearfott and M. Cloud, "Introduction to Interval Analysis", SIAM 2009.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

FARTHEST = 2.0**300
"""The line is cut up to here, on both sides."""
CLOSE = 2.0**-30
"""How far above the steepest slope the bound may end, relative."""
MOST_CELLS = 2**21
"""All that are looked at; after them a bound is loose, and still a bound."""
WIDENED = 2.0**-40
TINY = 2.0**-900
LIBRARY = 2.0**-50
"""How accurate a library's float64 functions are taken to be, relative."""

Array = np.ndarray
Formula = Callable[..., "Cells | Array"]


@dataclass(frozen=True)
class Span:
    """Intervals, one to a cell."""

    low: Array
    high: Array

    @property
    def size(self) -> Array:
        """Largest magnitude."""
        return np.asarray(np.maximum(np.abs(self.low), np.abs(self.high)))

    @property
    def nearest(self) -> Array:
        """Smallest magnitude."""
        return np.asarray(np.maximum(np.maximum(self.low, -self.high), 0.0))

    def plus(self, other: "Span") -> "Span":
        """All sums."""
        return _widened(self.low + other.low, self.high + other.high)

    def times(self, other: "Span") -> "Span":
        """All products."""
        ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return _widened(np.minimum.reduce(ends), np.maximum.reduce(ends))


def _widened(low: Array, high: Array) -> Span:
    room = WIDENED * np.maximum(np.abs(low), np.abs(high)) + TINY
    return Span(low - room, high + room)


@dataclass(frozen=True)
class Cells:
    """What a formula so far gives on each cell of the line.

    Attributes:
        value: holds its values.
        slope: holds its slopes, those on both sides of a kink.
        lost: how far computed values are from exact ones, at most.
    """

    value: Span
    slope: Span
    lost: Array

    def __add__(self, other: "Cells | float") -> "Cells":
        """The sum; a number is added exactly."""
        if not isinstance(other, Cells):
            other = _number(other, self.lost)
        value = self.value.plus(other.value)
        lost = self.lost + other.lost + LIBRARY * value.size
        return Cells(value, self.slope.plus(other.slope), lost)

    def __mul__(self, other: "Cells | float") -> "Cells":
        """The product, by the product rule."""
        if not isinstance(other, Cells):
            other = _number(other, self.lost)
        slope = self.slope.times(other.value).plus(other.slope.times(self.value))
        value = self.value.times(other.value)
        carried = self.lost * (other.value.size + other.lost) + self.value.size * other.lost
        return Cells(value, slope, carried + LIBRARY * value.size)

    __radd__ = __add__
    __rmul__ = __mul__

    @property
    def near(self) -> Span:
        """Holds exact and computed values."""
        return Span(self.value.low - self.lost, self.value.high + self.lost)

    def through(self, low: Array, high: Array, slope: Span) -> "Cells":
        """A monotone function, from its values at both ends and its own slopes."""
        value = _widened(low, high)
        lost = self.lost * slope.size + LIBRARY * value.size
        return Cells(value, slope.times(self.slope), lost)


def _number(number: float, like: Array) -> Cells:
    fixed, nothing = np.full_like(like, number), np.zeros_like(like)
    return Cells(Span(fixed, fixed), Span(nothing, nothing), nothing)


def _bell(u: Cells, at: Callable[[Array], Array]) -> Span:
    """The slopes of a function whose slope falls with the distance from 0."""
    return _widened(at(u.near.size), at(u.near.nearest))


def sigmoid(u: Any) -> Any:
    """1 / (1 + exp(-u)), whose slope is exp(-|u|) / (1 + exp(-|u|))²."""
    if not isinstance(u, Cells):
        return np.asarray(special.expit(u))
    low, high = special.expit(u.value.low), special.expit(u.value.high)
    return u.through(low, high, _bell(u, lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2))


def tanh(u: Any) -> Any:
    """The hyperbolic tangent, whose slope is 4 exp(-2|u|) / (1 + exp(-2|u|))²."""
    if not isinstance(u, Cells):
        return np.tanh(u)
    slope = _bell(u, lambda x: 4 * np.exp(-2 * x) / (1 + np.exp(-2 * x)) ** 2)
    return u.through(np.tanh(u.value.low), np.tanh(u.value.high), slope)


def erf(u: Any) -> Any:
    """The error function, whose slope is 2/√π exp(-u²)."""
    if not isinstance(u, Cells):
        return np.asarray(special.erf(u))
    slope = _bell(u, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x))
    return u.through(special.erf(u.value.low), special.erf(u.value.high), slope)


def softplus(u: Any) -> Any:
    """log(1 + exp(u)), whose slope rises as the sigmoid does."""
    if not isinstance(u, Cells):
        return np.logaddexp(0.0, u)
    slope = _widened(special.expit(u.near.low), special.expit(u.near.high))
    low, high = np.logaddexp(0.0, u.value.low), np.logaddexp(0.0, u.value.high)
    return u.through(low, high, slope)


def between(u: Any, low: float, high: float) -> Any:
    """Kept between two numbers: the slope is 1 inside and 0 outside."""
    if not isinstance(u, Cells):
        return np.clip(u, low, high)
    inside = (u.near.low >= low) & (u.near.high <= high)
    touches = (u.near.high >= low) & (u.near.low <= high)
    slope = Span(inside.astype(float), touches.astype(float))
    return u.through(np.clip(u.value.low, low, high), np.clip(u.value.high, low, high), slope)


def steepest(formula: Formula, *, enough: float = np.inf) -> float:
    """Upper bound on the slope's magnitude up to `FARTHEST`, within `CLOSE` where it is smooth.

    Infinite where a slope of `enough` or more was seen.
    """
    low, high = _line()
    seen, bound, left = 0.0, 0.0, MOST_CELLS
    with np.errstate(all="ignore"):
        while len(low):
            seen = max(seen, _steepest_seen(formula, low))
            if seen >= enough:
                return float(np.inf)
            limit = seen * (1 + CLOSE)
            slope = _cells(formula, low, high).slope.size
            slope = np.where(np.isnan(slope), np.inf, slope)
            middle = low + (high - low) / 2
            open_ = (slope > limit) & (low < middle) & (middle < high)
            left -= len(low)
            if 2 * np.count_nonzero(open_) > left:
                open_[:] = False
            bound = max(bound, float(slope[~open_].max(initial=0.0)))
            low, high, middle = low[open_], high[open_], middle[open_]
            low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    return bound


def accurate(formula: Formula, within: float) -> bool:
    """Whether float64 computes it to `within` · (1 + |x|), up to `FARTHEST`."""
    low, high = _line()
    with np.errstate(all="ignore"):
        found = _cells(formula, low, high)
        return bool((found.lost <= within * (1 + Span(low, high).nearest)).all())


def _steepest_seen(formula: Formula, at: Array) -> float:
    slope = _cells(formula, at, at).slope
    return float(np.where(np.isnan(slope.nearest), np.inf, slope.nearest).max(initial=0.0))


def _cells(formula: Formula, low: Array, high: Array) -> Cells:
    ones, nothing = np.ones_like(low), np.zeros_like(low)
    found = formula(Cells(Span(low, high), Span(ones, ones), nothing))
    if not isinstance(found, Cells):
        raise TypeError("a formula that is no formula of cells")
    return found


def _line() -> tuple[Array, Array]:
    """Cells of an eighth of their distance from 0, and those around 0."""
    octaves = np.arange(-40, 300)[:, None] + np.log2(1 + np.arange(8) / 8)
    right = np.concatenate([[0.0], np.exp2(octaves.reshape(-1)), [FARTHEST]])
    line = np.concatenate([-right[:0:-1], right])
    return line[:-1], line[1:]
