"""Operators that move entries, and those where branches meet."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.proof.operators.operator import Operator, Stretch


@dataclass(frozen=True, kw_only=True)
class Move(Operator):
    """Entries change places, or some are left out: Reshape, Flatten, Transpose, a part of a Split.

    Exactly one of the three is given: the example's new shape, the order of its axes (batch
    included), or the axis, start and stop of a crop.
    """

    reshape: tuple[int, ...] | None = None
    order: tuple[int, ...] | None = None
    crop: tuple[int, int, int] | None = None

    def run(self, *values: Tensor) -> Tensor:
        """The same entries elsewhere."""
        x = values[0]
        if self.reshape is not None:
            return x.reshape(len(x), *self.reshape)
        if self.order is not None:
            return x.permute(self.order)
        if self.crop is not None:
            axis, start, stop = self.crop
            return x.narrow(axis, start, stop - start)
        return x

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """No entry is used twice."""
        return Stretch(method="no entry is used twice", exact=True)


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

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """Squared distances add up."""
        return Stretch(method="root of squares", core="root of squares", exact=True)
