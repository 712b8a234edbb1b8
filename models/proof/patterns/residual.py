"""x - B φ(A x + b): the residual layers SLL and CPL, dense or convolutional.

φ works entry by entry, does not decrease and has no slope above 1, so φ(a) - φ(a′) = D (a - a′)
with a diagonal 0 ≤ D ≤ I.  For any diagonal Λ ≥ 0 and s ≥ σ(Λ^½ A),

    I - B D A = (I - Aᵀ Λ D A) - (B - Aᵀ Λ) D A,    0 ≤ Aᵀ Λ D A ≤ Aᵀ Λ A ≤ s² I,

so distances grow by max(1, s² - 1) + ‖B - Aᵀ Λ‖ σ(A) at most.  B as stored in float32 is not
exactly Aᵀ Λ: the last term, some 1e-7, is there.  Λ is chosen to make it small.

With Abs or MaxMin for φ there is no such D, and the layer reaches 3.

Source: A. Araujo, A. Havens, B. Delattre, A. Allauzen and B. Hu, "A Unified Algebraic Perspective
on Lipschitz Neural Networks", ICLR 2023, arXiv:2303.03169; L. Meunier, B. Delattre, A. Araujo and
A. Allauzen, "A Dynamical System Perspective for Lipschitz Neural Networks", ICML 2022,
arXiv:2110.12690.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from models.proof.operators.affine import Scale, Shift
from models.proof.operators.branches import Sum
from models.proof.operators.elementwise import Activation, Clip
from models.proof.operators.operator import Operator
from models.proof.patterns.adjoint import LinearPair, linear_pair
from models.proof.patterns.group import Group, Wiring
from models.proof.steps import WalkedStretch, take_steps, walked

CLOSE = 1e-2
"""‖B - Aᵀ Λ‖ relative to ‖B‖, Frobenius norms, up to which a block is taken for SLL or CPL."""
SMOOTH = ("Sigmoid", "Softplus", "Tanh")
"""Smooth functions with slopes in [0, 1]."""
MOST_STEPS = 10
"""Operators on the branch."""


def recognise(wiring: Wiring, operator: Operator) -> Group | None:
    """The group that ends in the sum of x and its branch."""
    if not isinstance(operator, Sum) or len(operator.operands) != 2:
        return None
    sign = -math.prod(operator.signs)
    for source, end in (operator.operands, operator.operands[::-1]):
        pair = _pair(_branch(wiring, source, end), sign)
        if pair is not None and pair.is_close(CLOSE):
            inside = wiring.between(source, operator.result)
            theorem = partial(_stretch, wiring, source, inside, pair)
            return Group("x - B φ(A x + b)", source, inside, theorem)
    return None


def _branch(wiring: Wiring, source: str, end: str) -> tuple[Operator, ...]:
    """Operators with one operand each from the source to the branch's end; empty if it is none."""
    branch: list[Operator] = []
    while end != source:
        maker = wiring.maker.get(end)
        if maker is None or len(maker.operands) != 1 or len(branch) == MOST_STEPS:
            return ()
        branch.append(maker)
        end = maker.operands[0]
    return tuple(reversed(branch))


def _pair(branch: Sequence[Operator], sign: int) -> LinearPair | None:
    """A and B of a branch: linear, shift, φ, scales, linear, scales; shifts where they like."""
    parts = [operator for operator in branch if not _is_shift(operator)]
    if len(parts) < 3 or not _is_monotone(parts[1]):
        return None
    first, _, *after = parts
    linear = [operator for operator in after if not isinstance(operator, Scale)]
    if len(linear) != 1:
        return None
    pair = linear_pair(first, linear[0])
    if pair is None:
        return None
    factors, behind = np.full(len(pair.forward), float(sign)), False
    for operator in after:
        if isinstance(operator, Scale):
            scale = _factors(operator.constant.array, pair)
            if scale is None or (behind and len(scale) > 1):
                return None
            with np.errstate(over="ignore"):
                factors = factors / scale if operator.divide else factors * scale
        behind |= operator is linear[0]
    return pair.scaled(factors, roundings=len(after) + 1)


def _is_shift(operator: Operator) -> bool:
    """Whether it adds a constant, which makes no difference to a difference."""
    return isinstance(operator, Shift) and not operator.negate


def _is_monotone(operator: Operator) -> bool:
    """Whether it is elementwise with all slopes in [0, 1]."""
    if isinstance(operator, Activation):
        slope = operator.slope
        if slope is None:
            return operator.kind == "Relu"
        return bool(slope.array.min() >= 0 and slope.array.max() <= 1)
    return isinstance(operator, Clip) or operator.kind in SMOOTH


def _factors(constant: np.ndarray, pair: LinearPair) -> np.ndarray | None:
    """One factor to a neuron, or one to all; None where other axes have factors, too."""
    if constant.size == 1:
        return constant.reshape(1).astype(np.float64)
    if constant.ndim < -pair.axis or constant.shape[pair.axis] != constant.size:
        return None
    return constant.reshape(-1).astype(np.float64)


def _stretch(
    wiring: Wiring, source: str, inside: tuple[Operator, ...], pair: LinearPair
) -> WalkedStretch:
    """The theorem, and the rounding of the operators one after the other."""
    steps = take_steps(Wiring(source, inside, wiring.shapes), {})
    (forward,) = (step for step in steps if step.result == pair.result)
    factor = pair.factor(forward.stretch.factor)
    return walked(steps, source=source, factor=factor, method="residual: B against Aᵀ Λ")
