"""What a study found: numbers, each expectation beside what came out, and what is to be drawn.

Neutral data, free of torch: a page is made from it, and from nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

Real = float | int
Numbers = Sequence[Real] | np.ndarray


@dataclass(frozen=True)
class Expectation:
    """What must come out if the claim is true.

    Attributes:
        name: of what was measured, in words.
        expected: the condition, in words.
        found: what came out; None where it is not a finite number.
        holds: whether the condition is met.
    """

    name: str
    expected: str
    found: float | None
    holds: bool


def at_least(name: str, found: Real, least: Real) -> Expectation:
    """Met where `found` is not below `least`; never by NaN."""
    return _expectation(name, f"at least {least:.6g}", found, bool(found >= least))


def at_most(name: str, found: Real, most: Real) -> Expectation:
    """Met where `found` is not above `most`; never by NaN."""
    return _expectation(name, f"at most {most:.10g}", found, bool(found <= most))


def between(name: str, found: Real, least: Real, most: Real) -> Expectation:
    """Met where `found` is neither below `least` nor above `most`; never by NaN."""
    return _expectation(name, f"{least:.6g} to {most:.6g}", found, bool(least <= found <= most))


def near(name: str, found: Real, value: Real, *, within: Real) -> Expectation:
    """Met where `found` is no further from `value` than `within`; never by NaN."""
    holds = bool(abs(found - value) <= within)
    return _expectation(name, f"{value:.6g} ± {within:.2g}", found, holds)


def equal(name: str, found: int, value: int) -> Expectation:
    """Met where a count is exactly `value`."""
    return _expectation(name, f"exactly {value}", found, bool(found == value))


def _expectation(name: str, expected: str, found: Real, holds: bool) -> Expectation:
    finite = math.isfinite(found)
    return Expectation(name, expected, float(found) if finite else None, holds and finite)


@dataclass(frozen=True)
class Series:
    """Some points of a panel.

    Attributes:
        name: in the legend; nothing is said of one without a name.
        x: places along the axis.
        y: heights.
        kind: `line`, `dashed` or `dots`.
        tone: which colour, from 0; a study says which series belong together.
        spread: half the length of each error bar; none if empty.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    kind: str = "line"
    tone: int = 0
    spread: tuple[float, ...] = ()


@dataclass(frozen=True)
class Levels:
    """A function of the plane as level sets.

    Attributes:
        values: by rows, from the lowest y to the highest.
        sides: least and largest x, least and largest y.
        at: values at which a line is drawn; the one at 0 is the boundary.
    """

    values: tuple[tuple[float, ...], ...]
    sides: tuple[float, float, float, float]
    at: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False
    levels: Levels | None = None


@dataclass(frozen=True)
class Finding:
    """What a study ends in.

    Attributes:
        expectations: all that must hold for the claim to be borne out.
        numbers: further figures by name, for the reader and for `study.json`.
        panels: what is drawn, from left to right.
        caption: what can be seen there, in words.
        notes: what to know of these very numbers; paragraphs.
    """

    expectations: tuple[Expectation, ...]
    numbers: dict[str, float | int | str]
    panels: tuple[Panel, ...]
    caption: str
    notes: tuple[str, ...] = field(default=())

    @property
    def borne_out(self) -> bool:
        """Whether every expectation is met; a study without one shows nothing."""
        return bool(self.expectations) and all(each.holds for each in self.expectations)

    def to_json(self) -> dict[str, Any]:
        """As numbers, texts and lists."""
        return {"borne_out": self.borne_out, **asdict(self)}


def series(
    name: str,
    x: Numbers,
    y: Numbers,
    *,
    kind: str = "line",
    tone: int = 0,
    spread: Numbers = (),
) -> Series:
    """A series of any numbers, kept to seven digits."""
    return Series(name, _short(x), _short(y), kind, tone, _short(spread))


def levels(values: np.ndarray, *, sides: tuple[float, float, float, float], at: Numbers) -> Levels:
    """Level sets of a function's values, kept to four digits."""
    rows = tuple(tuple(float(f"{each:.4g}") for each in row) for row in values)
    return Levels(rows, sides, _short(at))


def _short(values: Numbers) -> tuple[float, ...]:
    return tuple(float(f"{each:.7g}") for each in values)
