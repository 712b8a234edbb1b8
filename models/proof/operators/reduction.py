"""Operators that reduce whole axes to one entry: every entry is in exactly one window."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.proof.operators.assumed import assumed_stretch
from models.proof.operators.operator import Operator, Stretch
from models.proof.operators.pooling import average_stretch
from models.proof.upward import up_sqrt

_REDUCED: dict[str, Callable[..., Any]] = {
    "Max": torch.amax,
    "Min": torch.amin,
    "Average": torch.mean,
    "Sum": torch.sum,
    "L2": torch.linalg.vector_norm,
}
_WAYS = {
    "ReduceMax": "Max",
    "GlobalMaxPool": "Max",
    "ReduceMin": "Min",
    "ReduceMean": "Average",
    "GlobalAveragePool": "Average",
    "ReduceSum": "Sum",
    "ReduceL2": "L2",
}


@dataclass(frozen=True, kw_only=True)
class Reduction(Operator):
    """ReduceMax, ReduceMin, ReduceMean, ReduceSum, ReduceL2, GlobalMaxPool, GlobalAveragePool.

    Attributes:
        axes: reduced, the batch counted as 0 and never among them; rising.
        keepdims: whether they stay, with length 1.
        entries: how many entries of an example make one of the result.
    """

    axes: tuple[int, ...]
    keepdims: bool
    entries: int

    def run(self, *values: Tensor) -> Tensor:
        """One entry for all of the axes."""
        reduced: Tensor = _REDUCED[_WAYS[self.kind]](
            values[0], dim=self.axes, keepdim=self.keepdims
        )
        return reduced

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """Axes that are reduced have length 1, or are gone."""
        sides = (
            1 if axis in self.axes else side
            for axis, side in enumerate(shapes[0], start=1)
            if self.keepdims or axis not in self.axes
        )
        return tuple(sides)

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """A choice or a norm brings nothing apart; a sum of n entries √n, a mean 1/√n."""
        match _WAYS[self.kind]:
            case "Average":
                return average_stretch(up_sqrt(1, self.entries), terms=self.entries)
            case "Sum":
                return average_stretch(up_sqrt(self.entries), terms=self.entries)
            case "L2":
                return assumed_stretch(self.kind, method="a norm", factor=1.0, terms=self.entries)
        return Stretch(method="each entry in one window", terms=1)
