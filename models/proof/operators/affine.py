"""Operators that are a linear map, plus a constant."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.proof.norms.matrix import absolute_norm_bound, matrix_norm_bound
from models.proof.operators.operator import Constant, Operator, Stretch, broadcast_norm
from models.proof.upward import FLOAT32, norm_bound, up, up_product


@dataclass(frozen=True, kw_only=True)
class Dense(Operator):
    """x ↦ alpha x Wᵀ + beta b on the last axis: Gemm, or MatMul by a constant."""

    weight: Constant
    bias: Constant | None = None
    alpha: float = 1.0
    beta: float = 1.0

    def run(self, *values: Tensor) -> Tensor:
        """Matrix product over the last axis."""
        x, weight = values[0], self.weight.tensor(values[0])
        bias = None if self.bias is None else self.bias.tensor(x)
        if self.is_scaled:
            product = self.alpha * torch.nn.functional.linear(x, weight)
            return product if bias is None else product + self.beta * bias
        return torch.nn.functional.linear(x, weight, bias)

    @property
    def is_scaled(self) -> bool:
        """Whether alpha or beta do anything."""
        return (self.alpha, self.beta) != (1.0, 1.0)

    @cached_property
    def rows(self) -> np.ndarray:
        """The matrix with alpha in it, exact: a float64 holds a product of two float32."""
        return self.alpha * self.weight.array.astype(np.float64)

    @cached_property
    def shift(self) -> np.ndarray:
        """The bias with beta in it, exact; zeros where there is no bias."""
        if self.bias is None:
            return np.zeros(len(self.weight.array))
        return self.beta * self.bias.array.astype(np.float64)

    @property
    def roundings(self) -> int:
        """Behind an entry of the result: one for each term, the bias, alpha and beta."""
        return int(self.weight.array.shape[1]) + (3 if self.is_scaled else 1)

    @property
    def terms(self) -> int:
        """Behind an entry of the result, as often as alpha or beta make a flushed one count."""
        loudest = math.ceil(max(1.0, abs(self.alpha), abs(self.beta)))
        return int(self.weight.array.shape[1]) * loudest

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """An entry of the last axis to a row.

        Raises:
            ValueError: If the operand has no such axis.
        """
        outputs, entries = self.weight.array.shape
        if shapes[0][-1] != entries:
            raise ValueError(f"rows of {entries} entries for an operand of {list(shapes[0])}")
        return (*shapes[0][:-1], outputs)

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """The norm of alpha W, once for all positions."""
        repeats = math.prod(shape) // len(self.shift)
        before_alpha = max(1.0, abs(self.alpha))  # nothing may overflow before alpha makes it small
        return Stretch(
            method="rotation and row sums",
            factor=matrix_norm_bound(self.rows),
            offset=up(norm_bound(self.shift) * math.sqrt(repeats), 2) if self.shift.any() else 0.0,
            roundings=self.roundings,
            absolute=up_product(absolute_norm_bound(self.weight.array), before_alpha),
            terms=self.terms,
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

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operand's."""
        return shapes[0]

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

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operand's."""
        return shapes[0]

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """Distances do not change."""
        return Stretch(
            method="a constant cancels",
            offset=broadcast_norm(self.constant, shape),
            roundings=1,
        )
