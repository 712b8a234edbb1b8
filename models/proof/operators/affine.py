"""Operators that are a linear map, plus a constant."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.proof.norms import absolute_norm_bound, matrix_norm_bound
from models.proof.operators.operator import Constant, Operator, Stretch, broadcast_norm
from models.proof.upward import FLOAT32, up


@dataclass(frozen=True, kw_only=True)
class Dense(Operator):
    """x ↦ x Wᵀ + b on the last axis: Gemm, or MatMul by a constant."""

    weight: Constant
    bias: Constant | None = None

    def run(self, *values: Tensor) -> Tensor:
        """Matrix product over the last axis."""
        bias = None if self.bias is None else self.bias.tensor(values[0])
        return torch.nn.functional.linear(values[0], self.weight.tensor(values[0]), bias)

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """The norm of W, once for all positions."""
        weight = self.weight.array
        return Stretch(
            method="rotation and row sums",
            factor=matrix_norm_bound(weight),
            offset=0.0 if self.bias is None else broadcast_norm(self.bias, shape),
            roundings=weight.shape[1] + 1,
            absolute=absolute_norm_bound(weight),
            terms=weight.shape[1],
            largest=self.weight.largest,
        )


@dataclass(frozen=True, kw_only=True)
class Scale(Operator):
    """x ↦ c x or x / c, entry by entry, with a constant that does not enlarge x."""

    constant: Constant
    divide: bool = False

    def run(self, *values: Tensor) -> Tensor:
        """Product or quotient."""
        constant = self.constant.tensor(values[0])
        return values[0] / constant if self.divide else values[0] * constant

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """The largest factor."""
        magnitudes = np.abs(self.constant.array.astype(np.float64))
        least = float(magnitudes.min())
        factor = up(1 / least, 1) if self.divide else float(magnitudes.max())
        flushed = self.divide and least < FLOAT32.smallest
        return Stretch(
            method="largest factor",
            factor=factor,
            roundings=2 if self.divide else 1,
            absolute=factor,
            largest=factor,
            refused_float32="a subnormal divisor may be read as 0" if flushed else "",
        )


@dataclass(frozen=True, kw_only=True)
class Shift(Operator):
    """x ↦ x + b with a constant that does not enlarge x."""

    constant: Constant
    sign: Literal[1, -1] = 1
    negate: bool = False

    def run(self, *values: Tensor) -> Tensor:
        """Sum or difference."""
        constant = self.constant.tensor(values[0])
        if self.negate:
            return constant - values[0]
        return values[0] + constant if self.sign == 1 else values[0] - constant

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """Distances do not change."""
        return Stretch(
            method="a constant cancels",
            offset=broadcast_norm(self.constant, shape),
            roundings=1,
        )
