"""BatchNormalization in inference: a fixed factor and shift to each channel."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from models.proof.operators.operator import Constant, Operator, Stretch
from models.proof.upward import norm_bound, up, up_sum

QUIET = (2.0**-100, 2.0**100)
"""Where var + ε of a float32 runtime neither underflows nor overflows in its root."""
LARGEST_MEAN = 2.0**126
"""A larger one could make the difference overflow."""


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

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """The largest factor; seven roundings behind an entry are charged as eight."""
        factors = np.abs(self.gamma.array.astype(np.float64)) / np.sqrt(self.spread)
        factor = up(float(factors.max()), 4) if factors.any() else 0.0
        moved = factors * np.abs(self.mean.array.astype(np.float64))
        positions = math.prod(shape[1:])
        offset = up_sum((up(norm_bound(moved), 4), norm_bound(self.beta.array)))
        quiet = QUIET[0] <= self.spread.min() and self.spread.max() <= QUIET[1]
        quiet = quiet and self.mean.largest < LARGEST_MEAN
        return Stretch(
            method="largest factor of a channel",
            factor=factor,
            offset=up(offset * math.sqrt(positions), 2),
            roundings=8,
            absolute=factor,
            terms=2 * math.ceil(1 + factor),
            largest=factor + self.mean.largest,
            refused_float32="" if quiet else "var + ε or a mean is outside what float32 holds",
        )
