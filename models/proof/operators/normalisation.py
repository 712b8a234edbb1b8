"""BatchNormalization in inference: a fixed factor and shift to each channel."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from models.proof.operators.operator import Constant, Operator, Stretch
from models.proof.upward import norm_bound, up, up_product, up_sum

QUIET = (2.0**-100, 2.0**100)
"""Where var + ε of a float32 runtime neither underflows nor overflows in its root."""
RANGE = 2.0**125
"""No value on the way, and so no sum of two, exceeds it."""


@dataclass(frozen=True, kw_only=True)
class BatchNormalization(Operator):
    """x ↦ γ (x - mean) / √(var + ε) + β, one of each to a channel."""

    gamma: Constant
    beta: Constant
    mean: Constant
    variance: Constant
    epsilon: float

    def run(self, *values: Tensor) -> Tensor:
        """Factor and shift, channel by channel."""
        x = values[0]
        gamma, beta, mean, variance = (
            constant.tensor(x).view(-1, *[1] * (x.dim() - 2))
            for constant in (self.gamma, self.beta, self.mean, self.variance)
        )
        return (x - mean) * (gamma / (variance + self.epsilon).sqrt()) + beta

    @cached_property
    def spread(self) -> np.ndarray:
        """Var + ε of each channel, in float64."""
        return self.variance.array.astype(np.float64) + self.epsilon

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operand's."""
        return shapes[0]

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """The largest factor; seven roundings behind an entry are charged as eight.

        Runtimes multiply by γ and divide by √(var + ε) in any order.  So what underflows may grow
        by 1/√(var + ε) afterwards, and a value on the way may be as large as
        (ρ + |mean|) max(1, |γ|) max(1, 1/√(var + ε)).
        """
        steepest = up(1 / math.sqrt(self.spread.min()), 4)
        longest = RANGE / max(1.0, self.gamma.largest) / max(1.0, steepest)
        factors = np.abs(self.gamma.array.astype(np.float64)) / np.sqrt(self.spread)
        factor = up(float(factors.max()), 4) if factors.any() else 0.0
        moved = factors * np.abs(self.mean.array.astype(np.float64))
        positions = math.prod(shape[1:])
        offset = up_sum((up(norm_bound(moved), 4), norm_bound(self.beta.array)))
        quiet = QUIET[0] <= self.spread.min() and self.spread.max() <= QUIET[1]
        quiet = quiet and self.mean.largest < longest
        return Stretch(
            method="largest factor of a channel",
            factor=factor,
            offset=up(offset * math.sqrt(positions), 2),
            roundings=8,
            absolute=factor,
            terms=math.ceil(up_product(2.0, up_sum((1.0, factor)), up_sum((1.0, steepest)))),
            largest=up_sum((factor, self.mean.largest)),
            longest=longest,
            refused_float32="" if quiet else "var + ε or a mean is outside what float32 holds",
        )
