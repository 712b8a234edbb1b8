"""Operators where branches meet: Add, Sub, Sum, Concat, and Max and Min of activations."""

from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from models.proof.operators.operator import Operator, Stretch


@dataclass(frozen=True, kw_only=True)
class Sum(Operator):
    """Branches added, each with its sign: Add, Sub, Sum."""

    signs: tuple[int, ...] = field(default=())

    def run(self, *values: Tensor) -> Tensor:
        """The signed sum, from the left."""
        total = values[0] if self.signs[0] == 1 else -values[0]
        for sign, value in zip(self.signs[1:], values[1:], strict=True):
            total = total + value if sign == 1 else total - value
        return total

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operand's."""
        return shapes[0]

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """Distances add up."""
        branches = len(self.operands)
        return Stretch(
            method="sum of branches",
            core="sum",
            roundings=max(branches - 1, 1),
            terms=branches,
        )


@dataclass(frozen=True, kw_only=True)
class Concatenation(Operator):
    """Branches side by side along an axis that is not the batch."""

    axis: int

    def run(self, *values: Tensor) -> Tensor:
        """The branches, in order."""
        return torch.cat(values, dim=self.axis)

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operands' but along the axis, where they add up.

        Raises:
            ValueError: If they differ along another one.
        """
        at = self.axis - 1
        others = {(*shape[:at], *shape[self.axis :]) for shape in shapes}
        if len(others) > 1 or len({len(shape) for shape in shapes}) > 1:
            raise ValueError(
                f"shapes {', '.join(str(list(shape)) for shape in shapes)} side by side"
            )
        return (*shapes[0][:at], sum(shape[at] for shape in shapes), *shapes[0][self.axis :])

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """Squared distances add up."""
        return Stretch(method="root of squares", core="root of squares", exact=True)


@dataclass(frozen=True, kw_only=True)
class Extreme(Operator):
    """The largest or the smallest of the branches, entry by entry: Max, Min."""

    def run(self, *values: Tensor) -> Tensor:
        """The extreme of all branches."""
        return reduce(torch.maximum if self.kind == "Max" else torch.minimum, values)

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operand's."""
        return shapes[0]

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """|max a - max a′| ≤ max |aᵢ - aᵢ′|, of which the root of squares is no less."""
        return Stretch(method="root of squares", core="root of squares")
