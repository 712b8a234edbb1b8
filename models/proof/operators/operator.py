"""What every operator of a program is: something to run, and a row of what it does to distances.

`run` is what it computes, in torch, in the dtype of its operands and differentiable.  `stretch` is
what the walk over a program needs to know: with operands that move by at most ℓ₁, ℓ₂ … its result
moves by at most factor · core(ℓ₁, ℓ₂ …), where core is one operand, their sum or the root of their
summed squares.

Rounding is charged as γ_r (absolute · core(ρ) + offset), ρ the operands' norms, plus what gradual
or flushed underflow can add.  An operator that rounds in another way has a `Stretch` of its own.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.proof.growth import NOTHING, Growth
from models.proof.upward import Precision, norm_bound, up, up_hypot, up_sum

RANGE = 2.0**126
"""Float32 values below it cannot overflow."""


@dataclass(frozen=True)
class Stretch:
    """What one operator does to distances, norms and rounding errors.

    Attributes:
        method: how the factor was proved, for a reader.
        factor: largest stretch per unit of core; infinite where there is none.
        core: how several operands count together.
        offset: norm of the result at zero operands.
        exact: nothing is rounded, not even subnormals.
        roundings: roundings behind an entry of the result; 0 where values are only chosen.
        absolute: factor of the operator with every coefficient made positive.
        terms: entries of the operands behind an entry of the result.
        largest: largest coefficient.
        longest: norm that a computed operand must stay below so that nothing overflows.
        refused_float32: why a float32 runtime's result is not covered; empty where it is.
        assumption: what its float64 rounding rests on without proof; empty where on nothing.
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
    longest: float = math.inf
    refused_float32: str = ""
    assumption: str = ""

    def of(self, values: Sequence[float]) -> float:
        """Core of the operands' values, rounded up."""
        match self.core:
            case "one":
                return values[0]
            case "sum":
                return up_sum(values)
            case "root of squares":
                return up_hypot(values)

    def through(self, values: Sequence[Growth]) -> Growth:
        """What the operator makes of distances, norms or errors of its operands."""
        return self.together(values).times(self.factor)

    def together(self, values: Sequence[Growth]) -> Growth:
        """Core of the operands' values, a and b apart."""
        core: Callable[[Sequence[float]], float] = self.of
        return Growth(core([value.a for value in values]), core([value.b for value in values]))

    def lost(self, reach: Sequence[Growth], *, precision: Precision, entries: int) -> Growth:
        """What the operator itself rounds: γ_r (absolute · core(ρ) + offset), and underflow.

        Args:
            reach: ρ, the norms of the computed operands.
            precision: the format computed in.
            entries: entries of the result.
        """
        if self.exact:
            return NOTHING
        rho = self.together(reach)
        rounded = NOTHING
        if self.roundings:
            full = rho.times(self.absolute).plus(Growth(self.offset, 0.0))
            rounded = full.times(precision.gamma(self.roundings))
        flushed = up(8 * self.terms * math.sqrt(entries) * precision.smallest, 4)
        ones = Growth(up_sum((1.0, self.largest)), 0.0)
        return rounded.plus(rho.plus(ones).times(flushed))

    def peak(self, reach: Sequence[Growth]) -> Growth:
        """What no number behind an entry of the computed result can exceed."""
        return self.together(reach).times(self.absolute).plus(Growth(self.offset, 0.0))

    def overflows(self, reach: Sequence[Growth], *, precision: Precision, farthest: float) -> bool:
        """Whether a float32 number behind the result may overflow.

        Args:
            reach: ρ, the norms of the computed operands.
            precision: the format computed in.
            farthest: largest norm of an input that is meant.
        """
        if not self.peak(reach).at(farthest) < RANGE:
            return True
        return not all(operand.at(farthest) < self.longest for operand in reach)

    def rounded(
        self, reach: Sequence[Growth], *, precision: Precision, entries: int, farthest: float
    ) -> tuple[Growth, bool]:
        """What `lost` and `overflows` say."""
        lost = self.lost(reach, precision=precision, entries=entries)
        return lost, self.overflows(reach, precision=precision, farthest=farthest)


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

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...] | None:
        """The result's shape for one example; None where only a run on no data tells it.

        Torch takes a second to load what such a run of most functions of each entry needs.
        """
        return None

    @abstractmethod
    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """How far it stretches; `shape` is its result's for one example."""


def broadcast_norm(constant: Constant, shape: tuple[int, ...]) -> float:
    """Norm of a constant repeated over a result of `shape`."""
    repeats = math.prod(shape) // constant.array.size
    return up(norm_bound(constant.array) * math.sqrt(repeats), 2)
