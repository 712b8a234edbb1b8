"""Operators that have no Lipschitz bound alone and make sense inside a group: powers, signs.

x² and √x are steep, far from 0 and near it; Sign jumps; a product grows with its other factor.
Together they can be the norm of a window: see `patterns.l2_pooling`.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.proof.operators.operator import Operator, Stretch


@dataclass(frozen=True, kw_only=True)
class GroupOnly(Operator):
    """An operator that no bound is known for outside a group."""

    accepted: ClassVar[str] = (
        "L2 pooling: Pow 2, an average or sum over windows, a scale above 0, a constant from 0 "
        "added, Pow 1/2 or Sqrt"
    )

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The operand's."""
        return shapes[0]

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """There is no bound."""
        return Stretch(method="none", factor=math.inf)


@dataclass(frozen=True, kw_only=True)
class Square(GroupOnly):
    """x²: Pow with exponent 2."""

    exponent: float = 2.0
    """Tells it from the root of the same kind, in a program's hash."""

    def run(self, *values: Tensor) -> Tensor:
        """One product."""
        return values[0] * values[0]


@dataclass(frozen=True, kw_only=True)
class Root(GroupOnly):
    """√x: Sqrt, and Pow with exponent 1/2."""

    exponent: float = 0.5
    """Tells it from the square of the same kind, in a program's hash."""

    def run(self, *values: Tensor) -> Tensor:
        """The root, whose gradient at 0 is 0 and not NaN."""
        x = values[0]
        zero = x == 0
        return torch.where(zero, x, torch.where(zero, 1.0, x).sqrt())


@dataclass(frozen=True, kw_only=True)
class Sign(GroupOnly):
    """-1, 0 or 1."""

    def run(self, *values: Tensor) -> Tensor:
        """The sign of each entry."""
        return torch.sign(values[0])


@dataclass(frozen=True, kw_only=True)
class Product(GroupOnly):
    """Two activations multiplied: x · x, or Sign(a) · Relu(Abs(a)) as LPPool2d is exported."""

    accepted: ClassVar[str] = (
        "a product with a constant; inside L2 pooling x · x, and Sign(a) · Relu(Abs(a)) of an "
        "average a"
    )

    def run(self, *values: Tensor) -> Tensor:
        """The product, entry by entry."""
        return values[0] * values[-1]
