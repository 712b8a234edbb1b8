"""Operators that change each entry by itself."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.proof.operators.operator import Constant, Operator, Stretch


@dataclass(frozen=True, kw_only=True)
class Activation(Operator):
    """A piecewise linear function through 0, entry by entry: Relu, Abs, Neg, LeakyRelu, PRelu."""

    slope: Constant | None = None
    """Slope below zero, where the kind has one."""

    def run(self, *values: Tensor) -> Tensor:
        """The function, entry by entry."""
        x = values[0]
        if self.slope is not None:
            return torch.where(x < 0, self.slope.tensor(x) * x, x)
        return {"Relu": torch.relu, "Abs": torch.abs, "Neg": torch.neg}[self.kind](x)

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """The steepest slope."""
        if self.slope is None:
            return Stretch(method="slope at most 1", exact=self.kind != "Relu")
        factor = max(1.0, self.slope.largest)
        return Stretch(
            method="steepest slope",
            factor=factor,
            roundings=1,
            absolute=factor,
            largest=factor,
        )
