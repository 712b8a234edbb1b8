"""L2 pooling as exporters break it: squares, their average or sum over windows, a root.

With w_oi the weight of entry i in window o, c > 0 the scale and ε ≥ 0, the result is the norm of
the vector of all √(c w_oi) x_i and √ε.  So |y_o - y_o′|² ≤ c Σ_i w_oi (x_i - x_i′)², and summed
over the windows: distances grow by √(c · largest column sum of w) at most.

Source: Y.-L. Boureau, J. Ponce and Y. LeCun, "A Theoretical Analysis of Feature Pooling in Visual
Recognition", ICML 2010.
"""

import math

import numpy as np

from models.audit.arithmetic import above
from models.audit.groups.wiring import Wiring
from models.audit.step import Loss, Step, grouped

SQUARES = 2.0**62
MODERATE = 2.0**60


def l2_pooling(wiring: Wiring, step: Step) -> Step | None:
    """The group that ends in a root."""
    if step.facts.get("power") != 0.5:
        return None
    constants = []
    current = wiring.before(step.operands[0])
    if current is not None and "shift" in current.facts:
        shift = current.facts["shift"]
        if not shift.min() >= 0:
            return None
        constants.append(shift)
        current = wiring.before(current.operands[0])
    c = 1.0
    if current is not None and "scale" in current.facts:
        scale = current.facts["scale"]
        if not scale.min() > 0:
            return None
        constants.append(scale)
        c = above(1 / float(scale.min()), 1) if current.facts["divides"] else float(scale.max())
        current = wiring.before(current.operands[0])
    if current is not None and _is_product(current):
        current = _ungated(wiring, current)
    if current is None or "column" not in current.facts:
        return None
    squares = wiring.before(current.operands[0])
    if squares is None or not _squares(squares):
        return None
    source = squares.operands[0]
    factor = above(math.sqrt(above(c * current.facts["column"], 1)), 1)
    terms = current.facts["terms"]
    loss = Loss(
        roundings=terms + 6,
        absolute=factor,
        terms=terms,
        largest=c,
        longest=SQUARES / max(1.0, factor),
        root=True,
        uncovered=_uncovered(step, constants),
    )
    return grouped(
        "L2 pooling",
        source,
        wiring.between(source, step.result),
        prove=lambda: factor,
        rounds=lambda: loss,
    )


def _uncovered(root: Step, constants: list[np.ndarray]) -> str:
    magnitudes = np.abs(np.concatenate([each.reshape(-1) for each in constants] or [np.ones(1)]))
    moderate = (magnitudes == 0) | ((magnitudes >= 1 / MODERATE) & (magnitudes <= MODERATE))
    if root.kind == "Pow":
        return "float32 runtimes differ in how they round Pow"
    return "" if moderate.all() else "a constant is too large or too small for float32"


def _is_product(step: Step) -> bool:
    return step.kind == "Mul" and len(step.operands) == 2


def _squares(step: Step) -> bool:
    if _is_product(step):
        return step.operands[0] == step.operands[1]
    return step.facts.get("power") == 2.0


def _ungated(wiring: Wiring, product: Step) -> Step | None:
    """What makes a, where the product is Sign(a) · Relu(Abs(a)): that is a, where a ≥ 0."""
    for one, other in (product.operands, product.operands[::-1]):
        sign, relu = wiring.before(one), wiring.before(other)
        if sign is None or relu is None or (sign.kind, relu.kind) != ("Sign", "Relu"):
            continue
        magnitude = wiring.before(relu.operands[0])
        if (
            magnitude is not None
            and magnitude.kind == "Abs"
            and magnitude.operands == sign.operands
        ):
            return wiring.before(sign.operands[0])
    return None
