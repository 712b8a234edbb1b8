"""Functions whose own rounding is assumed and not proved: libraries compute them as they like.

No float32 radius speaks of them.  In float64, which certificates are evaluated in, a result of m
entries is taken to be within √m 2⁻⁴⁰ (1 + ρ) of the exact one, ρ the operand's norm, beside what
sums within it lose.  Libraries are some 2⁻¹⁰ of that away.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.proof.growth import Growth
from models.proof.operators.operator import Operator, Stretch
from models.proof.upward import Precision, up

ACCURACY = 2.0**-40
"""What a float64 function is taken to be accurate to; libraries reach 2⁻⁵⁰."""


@dataclass(frozen=True)
class AssumedStretch(Stretch):
    """A row whose rounding rests on the float64 functions of a library.

    Attributes:
        jump: what is charged beside it, a norm: how far a function that jumps can be from the one
            whose factor this is.
    """

    jump: float = 0.0

    def lost(self, reach: Sequence[Growth], *, precision: Precision, entries: int) -> Growth:
        """The roundings of its sums, √m 2⁻⁴⁰ (1 + ρ) times its largest coefficient, the jump."""
        summed = super().lost(reach, precision=precision, entries=entries)
        one = Growth(1.0, 0.0)
        accuracy = up(ACCURACY * math.sqrt(entries) * self.largest, 3)
        assumed = self.together(reach).plus(one).times(accuracy)
        return summed.plus(assumed, Growth(self.jump, 0.0))


def assumed_stretch(
    kind: str, *, method: str, factor: float, offset: float = 0.0, terms: int = 1
) -> AssumedStretch:
    """The row of a function that sums `terms` entries at most."""
    return AssumedStretch(
        method=method,
        factor=factor,
        offset=offset,
        roundings=terms + 2,
        absolute=max(factor, 1.0),
        terms=terms,
        refused_float32=f"float32 runtimes differ in how they round {kind}",
        assumption=f"{kind} in float64 is accurate to √entries · 2⁻⁴⁰ · (1 + ‖operand‖)",
    )


@dataclass(frozen=True, kw_only=True)
class Softmax(Operator):
    """exp(x) over its sum along an axis that is not the batch."""

    axis: int

    def run(self, *values: Tensor) -> Tensor:
        """Shares that add up to 1."""
        return torch.softmax(values[0], dim=self.axis)

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operand's."""
        return shapes[0]

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """Its derivative diag(p) - p pᵀ is symmetric, with row sums 2 pᵢ (1 - pᵢ) ≤ 1/2."""
        shares = shape[self.axis - 1]
        offset = up(math.sqrt(math.prod(shape)) / shares, 2)
        return assumed_stretch(
            self.kind,
            method="row sums of the derivative",
            factor=0.5,
            offset=offset,
            terms=shares,
        )
