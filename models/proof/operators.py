"""The operators that a program may hold: run each, know how far it stretches and how it rounds.

Every operator is a row with three columns.  `run` is what it computes, in torch, in the dtype of
its operands and differentiable.  `stretch` is what the walk over a program needs to know: with
operands that move by at most ℓ₁, ℓ₂ … its result moves by at most factor · core(ℓ₁, ℓ₂ …), where
core is one operand, their sum or the root of their summed squares.

Rounding is charged as γ_r (absolute · core(ρ) + offset), ρ the operands' norms, plus what gradual
or flushed underflow can add.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.proof.norms import absolute_norm_bound, matrix_norm_bound
from models.proof.upward import norm_bound, up, up_hypot, up_sum


@dataclass(frozen=True)
class Stretch:
    """What one operator does to distances, norms and rounding errors.

    Attributes:
        method: how the factor was proved, for a reader.
        factor: largest stretch per unit of core.
        core: how several operands count together.
        offset: norm of the result at zero operands.
        exact: nothing is rounded, not even subnormals.
        roundings: roundings behind an entry of the result; 0 where values are only chosen.
        absolute: factor of the operator with every coefficient made positive.
        terms: entries of the operands behind an entry of the result.
        largest: largest coefficient.
    """

    method: str
    factor: float = 1.0
    core: Literal["one", "sum", "root of squares"] = "one"
    offset: float = 0.0
    exact: bool = False
    roundings: int = 0
    absolute: float = 1.0
    terms: int = 1
    largest: float = 1.0

    def of(self, values: Sequence[float]) -> float:
        """Core of the operands' values, rounded up."""
        match self.core:
            case "one":
                return values[0]
            case "sum":
                return up_sum(values)
            case "root of squares":
                return up_hypot(values)


class Constant:
    """A weight of the file, and its copies as tensors, one to a dtype and device."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = np.asarray(array, dtype=np.float32)
        self._tensors: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def tensor(self, like: Tensor) -> Tensor:
        """The exact stored values, in the dtype and on the device of `like`."""
        key = like.dtype, like.device
        if key not in self._tensors:
            with torch.inference_mode(mode=False):  # so that gradients may pass by it later
                copy = torch.tensor(self.array, dtype=like.dtype, device=like.device)
            self._tensors[key] = copy
        return self._tensors[key]

    @cached_property
    def largest(self) -> float:
        """Largest magnitude."""
        return float(np.abs(self.array).max(initial=0.0))


@dataclass(frozen=True, kw_only=True)
class Operator(ABC):
    """A node of the program: the activations it reads and the one it makes."""

    name: str
    kind: str
    operands: tuple[str, ...]
    result: str

    @abstractmethod
    def run(self, *values: Tensor) -> Tensor:
        """The result, batch first, from the operands' values."""

    @abstractmethod
    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """How far it stretches; `shape` is its result's for one example."""


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
            offset=0.0 if self.bias is None else _broadcast_norm(self.bias, shape),
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
        factor = up(1 / float(magnitudes.min()), 1) if self.divide else float(magnitudes.max())
        return Stretch(
            method="largest factor",
            factor=factor,
            roundings=2 if self.divide else 1,
            absolute=factor,
            largest=factor,
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
            offset=_broadcast_norm(self.constant, shape),
            roundings=1,
        )


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


def _broadcast_norm(constant: Constant, shape: tuple[int, ...]) -> float:
    """Norm of a constant repeated over a result of `shape`."""
    repeats = math.prod(shape) // constant.array.size
    return up(norm_bound(constant.array) * math.sqrt(repeats), 2)
