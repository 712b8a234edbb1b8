"""Operators that change each entry by itself."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.proof.operators.operator import Constant, Operator, Stretch, broadcast_norm


@dataclass(frozen=True, kw_only=True)
class Activation(Operator):
    """A piecewise linear function through 0, entry by entry: Relu, Abs, Neg, LeakyRelu, PRelu."""

    slope: Constant | None = None
    """Slope below zero, where the kind has one."""

    def run(self, *values: Tensor) -> Tensor:
        """The function, entry by entry."""
        x = values[0]
        if self.slope is not None:
            slope = self.slope.tensor(x)
            sides = (1,) * (x.dim() - slope.dim()) + tuple(slope.shape)
            if sides[1:2] in ((1,), (x.shape[1],)) and max(sides[:1] + sides[2:]) == 1:
                return torch.nn.functional.prelu(x, slope.reshape(-1))  # half the time of below
            return torch.where(x < 0, slope * x, x)
        return {"Relu": torch.relu, "Abs": torch.abs, "Neg": torch.neg}[self.kind](x)

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operand's."""
        return shapes[0]

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


@dataclass(frozen=True, kw_only=True)
class Clip(Operator):
    """x kept between constants, either of which may be missing: Clip, Max and Min with one."""

    low: Constant | None = None
    high: Constant | None = None

    def run(self, *values: Tensor) -> Tensor:
        """No less than `low`, then no more than `high`."""
        x = values[0]
        if self.low is not None:
            x = torch.maximum(x, self.low.tensor(x))
        if self.high is not None:
            x = torch.minimum(x, self.high.tensor(x))
        return x

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operand's."""
        return shapes[0]

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """Slopes are 0 or 1; a 0 may be moved to a bound."""
        at_zero = Constant(self.run(torch.zeros(())).numpy())
        return Stretch(method="slope at most 1", offset=broadcast_norm(at_zero, shape))
