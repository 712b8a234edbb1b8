"""What a sweep varies: lists of values and ranges, over any key of the model and of training.

Keys of the data, the seed and the certificates stay the same in all trials, since trials are
compared on the same images at the same budgets.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Values = dict[str, Any]
"""A trial's values by dotted key."""

SWEEPABLE = ("model", "train")
RANGE_KEYS = ("from", "to", "steps", "log")
ACCEPTED = (
    "a list of values that differ, or a range { from = 1e-3, to = 1e-2 } with steps = 3, "
    "log = true where wanted"
)
MOST_STEPS = 10_000


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    key: str
    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The value at a share of the list, in [0, 1)."""
        return self.values[math.floor(share * len(self.values))]

    def corners(self) -> tuple[Any, ...]:
        """Every value."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A number between two, both among them.

    Attributes:
        key: dotted.
        low: the least.
        high: the largest, and more than `low`.
        log: whether a value is as likely as its tenfold.
    """

    key: str
    low: int | float
    high: int | float
    log: bool

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> int | float:
        """The value at a share of the way, in [0, 1]; six digits of it, which people can read."""
        low, high = float(self.low), float(self.high)
        if self.whole:
            low, high = low - 0.5, high + 0.5
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        found = round(value) if self.whole else float(f"{value:.6g}")
        return min(max(found, self.low), self.high)

    def corners(self) -> tuple[int | float, ...]:
        """Both ends."""
        return self.low, self.high


Axis = Choice | Range


def axes_of(over: Mapping[str, Any]) -> tuple[list[Axis], list[str]]:
    """The axes of a table `sweep.over`, in the order of their keys, and every fault of it."""
    axes: list[Axis] = []
    faults = [] if over else ["sweep.over: found no key; accepted is at least one to vary"]
    for key, found in sorted(_flattened(over)):
        axis = _axis(key, found)
        if key.partition(".")[0] not in SWEEPABLE:
            faults.append(
                f"sweep.over.{key}: found a key that all trials share; accepted are keys of "
                f"{' and '.join(SWEEPABLE)}"
            )
        elif isinstance(axis, str):
            faults.append(f"sweep.over.{key}: found {found!r}; {axis}")
        else:
            axes.append(axis)
    for inner, outer in itertools.permutations([axis.key for axis in axes], 2):
        if inner.startswith(f"{outer}."):
            faults.append(
                f"sweep.over.{inner}: found a key inside {outer}, which is varied as a whole; "
                "accepted is one of the two"
            )
    return axes, faults


def grid(axes: list[Axis]) -> Iterator[Values]:
    """Every combination of the lists' values and the ranges' ends; the last key moves fastest."""
    for values in itertools.product(*(axis.corners() for axis in axes)):
        yield dict(zip([axis.key for axis in axes], values, strict=True))


def size(axes: list[Axis]) -> float:
    """Combinations that there are; infinite where a range is not of whole numbers."""
    counts = [
        len(axis.values) if isinstance(axis, Choice) else _whole_numbers(axis) for axis in axes
    ]
    return math.prod(counts)


def _whole_numbers(axis: Range) -> float:
    return int(axis.high) - int(axis.low) + 1 if axis.whole else math.inf


def _flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, found in table.items():
        if isinstance(found, Mapping) and found and not {"from", "to"} & set(found):
            yield from _flattened(found, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", found


def _axis(key: str, found: Any) -> Axis | str:
    """An axis, or what is accepted in its place."""
    if isinstance(found, list):
        differ = all(a != b or type(a) is not type(b) for a, b in itertools.combinations(found, 2))
        if found and differ:
            return Choice(key, tuple(found))
    elif isinstance(found, Mapping) and not set(found) - set(RANGE_KEYS):
        return _range(key, found)
    return f"accepted is {ACCEPTED}"


def _range(key: str, found: Mapping[str, Any]) -> Axis | str:
    low, high, log = _number(found.get("from")), _number(found.get("to")), found.get("log", False)
    if low is None or high is None or low >= high or not isinstance(log, bool):
        return f"accepted is {ACCEPTED}"
    if log and low <= 0:
        return "accepted is a range above 0, as log = true"
    axis, steps = Range(key, low, high, log), found.get("steps")
    return axis if steps is None else _in_steps(axis, steps)


def _in_steps(axis: Range, steps: Any) -> Choice | str:
    """So many values of a range, its ends among them."""
    if not (isinstance(steps, int) and not isinstance(steps, bool) and 2 <= steps <= MOST_STEPS):
        return f"accepted are 2 to {MOST_STEPS} steps"
    between = Range(axis.key, float(axis.low), float(axis.high), axis.log)
    values = [between.at(step / (steps - 1)) for step in range(steps)]
    values = [round(value) for value in values] if axis.whole else values
    if len(set(values)) < steps:
        return f"accepted are as many steps as there are values from {axis.low} to {axis.high}"
    return Choice(axis.key, tuple(values))


def _number(found: Any) -> int | float | None:
    """A finite number as it is, and None of anything else."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return found if math.isfinite(found) else None
