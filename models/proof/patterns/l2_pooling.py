"""L2 pooling as exporters break it: squares, their average or sum over windows, a root.

With w_oi the weight of entry i in window o, c the scale and ε ≥ 0, the result is
y_o = √(c Σ_i w_oi x_i² + ε), the norm of the vector of all √(c w_oi) x_i and √ε.  So
|y_o - y_o′|² ≤ c Σ_i w_oi (x_i - x_i′)², and summed over o: distances grow by √(c max_i Σ_o w_oi)
at most.

Source: Y.-L. Boureau, J. Ponce and Y. LeCun, "A Theoretical Analysis of Feature Pooling in Visual
Recognition", ICML 2010.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeGuard

from models.proof.growth import Growth
from models.proof.operators.affine import Scale, Shift
from models.proof.operators.elementwise import Activation
from models.proof.operators.operator import Operator, Stretch
from models.proof.operators.pooling import AveragePool
from models.proof.operators.powers import Product, Root, Sign, Square
from models.proof.operators.reduction import Reduction
from models.proof.patterns.group import Group, Wiring
from models.proof.upward import Precision, up, up_product

LONGEST_SQUARED = 2.0**62
"""Norms below it have squares that float32 holds."""
MODERATE = 2.0**60
"""Scales and constants between it and its inverse can neither overflow nor be flushed."""


@dataclass(frozen=True)
class RootStretch(Stretch):
    """The row of a root of a sum of squares.

    A relative error θ of the sum costs θ/2 of the root, and an absolute one e, such as flushed
    squares, costs √e: the root is not Lipschitz at 0.
    """

    def lost(self, reach: Sequence[Growth], *, precision: Precision, entries: int) -> Growth:
        """γ_r (σ̄ ρ + ‖√ε‖) + √m √(4 n max(1, c) μ)."""
        full = reach[0].times(self.absolute).plus(Growth(self.offset, 0.0))
        flushed = up_product(4.0 * self.terms, max(1.0, self.largest), precision.smallest)
        return full.times(precision.gamma(self.roundings)).plus(
            Growth(up(math.sqrt(entries * flushed), 3), 0.0)
        )


@dataclass(frozen=True)
class Pooled:
    """The parts of a root of a sum of squares.

    Attributes:
        source: what is squared.
        windows: averages the squares or adds them up.
        scale: multiplies the averages, if there is one.
        shift: is added to that, if there is one.
        root: comes last.
    """

    source: str
    windows: AveragePool | Reduction
    scale: Scale | None
    shift: Shift | None
    root: Root

    def stretch(self, shape: tuple[int, ...]) -> RootStretch:
        """√(c max_i Σ_o w_oi), and √ε in every entry."""
        c, added = self.largest_scale, self.largest_shift
        share, terms = _share(self.windows)
        factor = up(math.sqrt(up(c * share.numerator / share.denominator, 3)), 1)
        constants = [
            abs(float(entry))
            for part in (self.scale, self.shift)
            if part is not None
            for entry in (part.constant.array.min(), part.constant.array.max())
        ]
        refused = ""
        if not all(entry == 0 or 1 / MODERATE <= entry <= MODERATE for entry in constants):
            refused = "the scale or constant of an L2 pooling is too large or too small for float32"
        if self.root.kind == "Pow":
            refused = "float32 runtimes differ in how they round Pow"
        return RootStretch(
            method="a norm of each window",
            factor=factor,
            offset=up(math.sqrt(added) * math.sqrt(math.prod(shape)), 3) if added else 0.0,
            roundings=terms + 6,
            absolute=factor,
            terms=terms,
            largest=c,
            longest=LONGEST_SQUARED / max(1.0, factor),
            refused_float32=refused,
        )

    @property
    def largest_scale(self) -> float:
        """c, rounded up."""
        if self.scale is None:
            return 1.0
        if self.scale.divide:
            return up(1 / float(self.scale.constant.array.min()), 1)
        return self.scale.constant.largest

    @property
    def largest_shift(self) -> float:
        """ε."""
        return 0.0 if self.shift is None else self.shift.constant.largest


def recognise(wiring: Wiring, operator: Operator) -> Group | None:
    """The group that ends in a root of an average or sum of squares."""
    if not isinstance(operator, Root):
        return None
    pooled = _parts(wiring, operator)
    if pooled is None:
        return None
    inside = wiring.between(pooled.source, operator.result)
    shape = wiring.shapes[operator.result]
    return Group("L2 pooling", pooled.source, inside, lambda: pooled.stretch(shape))


def _parts(wiring: Wiring, root: Root) -> Pooled | None:
    """From the root back to the squares; None where anything else is between."""
    scale = shift = None
    current = wiring.maker.get(root.operands[0])
    if isinstance(current, Shift):
        shift, current = current, wiring.maker.get(current.operands[0])
        if shift.negate or shift.sign != 1 or not shift.constant.array.min() >= 0:
            return None
    if isinstance(current, Scale):
        scale, current = current, wiring.maker.get(current.operands[0])
        if not scale.constant.array.min() > 0:
            return None
    if isinstance(current, Product):
        current = _gated(wiring, current)
    if not (isinstance(current, AveragePool) or _adds(current)):
        return None
    squares = wiring.maker.get(current.operands[0])
    if not isinstance(squares, Square) and not (
        isinstance(squares, Product) and len(set(squares.operands)) == 1
    ):
        return None
    return Pooled(squares.operands[0], current, scale, shift, root)


def _gated(wiring: Wiring, product: Product) -> Operator | None:
    """What makes a, where the product is Sign(a) · Relu(Abs(a)), which is a for a ≥ 0."""
    for one, other in (product.operands, reversed(product.operands)):
        sign, relu = wiring.maker.get(one), wiring.maker.get(other)
        if isinstance(sign, Sign) and isinstance(relu, Activation) and relu.kind == "Relu":
            magnitude = wiring.maker.get(relu.operands[0])
            if (
                isinstance(magnitude, Activation)
                and magnitude.kind == "Abs"
                and magnitude.operands == sign.operands
            ):
                return wiring.maker.get(sign.operands[0])
    return None


def _adds(operator: Operator | None) -> TypeGuard[Reduction]:
    kinds = ("ReduceSum", "ReduceMean", "GlobalAveragePool")
    return isinstance(operator, Reduction) and operator.kind in kinds


def _share(windows: AveragePool | Reduction) -> tuple[Fraction, int]:
    """Largest Σ_o w_oi of an entry i, and the entries of a window."""
    if isinstance(windows, AveragePool):
        return windows.largest_share, windows.size
    if windows.kind == "ReduceSum":
        return Fraction(1), windows.entries
    return Fraction(1, windows.entries), windows.entries
