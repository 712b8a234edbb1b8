"""Functions of each entry that files write as products, quotients or choices of two activations.

All their steps change each entry by itself and read one tensor, so the group is a function of one
number.  Of products, x σ(x) and the like, it is put together as a formula, whatever its spelling,
whose steepest slope is proved.  Three others are known as they are: x / (1 + |x|) has slopes
(1 + |x|)⁻²; log(σ(x)) is -log(1 + exp(-x)), with slopes in [0, 1]; and log(1 + exp u) / b, with
u = b x, or x itself where u > t.  The latter jumps at t by log(1 + exp(-t)) / b at most, which is
charged like rounding, once for an image and once for its changed copy.
"""

import math
from dataclasses import replace

import numpy as np

from models.audit.arithmetic import above
from models.audit.formulas import Entry, Formula, loss_of, slope_bound
from models.audit.groups.wiring import Wiring
from models.audit.operators.elementwise import library
from models.audit.step import Loss, Step, grouped

LONGEST = 16
"""Steps of a formula."""
JOINED = {"Mul": "product", "Add": "sum", "Sub": "difference"}


def gated(wiring: Wiring, step: Step) -> Step | None:
    """The group that ends in a product of two activations."""
    if step.kind != "Mul" or step.bounded or len(step.operands) != 2:
        return None
    for source in _sources(wiring, step):
        inside = wiring.between(source, step.result)
        formula = _formula(source, inside) if inside else None
        if formula is not None and math.isfinite(slope_bound(formula)):
            return _of_formula(formula, source, inside)
    return None


def _of_formula(formula: Formula, source: str, inside: tuple[Step, ...]) -> Step:
    return grouped(
        "gated product",
        source,
        inside,
        prove=lambda: slope_bound(formula),
        rounds=lambda: loss_of(formula, "products of activations"),
    )


def _entry(step: Step) -> Entry | None:
    """What a step does to each entry, if it is known to change each by itself."""
    if any(shape != step.shape for shape in step.shapes):
        return None
    if len(step.operands) == 2 and step.kind in JOINED:
        return JOINED[step.kind], ()
    found: Entry | None = step.facts.get("entry")
    return found


def _sources(wiring: Wiring, step: Step) -> list[str]:
    """Tensors that the step may be a function of, the nearest first."""
    found: set[str] = set()
    pending = list(step.operands)
    while pending and len(found) < LONGEST:
        name = pending.pop()
        made = wiring.before(name)
        if name not in found and made is not None and _entry(made) is not None:
            pending += made.operands
        found.add(name)
    return sorted(found, key=lambda name: -wiring.at[name])


def _formula(source: str, inside: tuple[Step, ...]) -> Formula | None:
    made, rows = {source: 0}, []
    for at, step in enumerate(inside, start=1):
        entry = _entry(step)
        if entry is None or at > LONGEST:
            return None
        rows.append((*entry, tuple(made[name] for name in step.operands)))
        made[step.result] = at
    return tuple(rows)


def softsign(wiring: Wiring, step: Step) -> Step | None:
    """The group that ends in a quotient of x and 1 + |x|."""
    if step.kind != "Div" or step.bounded or len(step.operands) != 2:
        return None
    source, divisor = step.operands
    one = wiring.before(divisor)
    size = wiring.before(one.operands[0]) if one and _entry(one) == ("plus", (1.0,)) else None
    if size is None or size.kind != "Abs" or size.operands != (source,):
        return None
    inside = wiring.between(source, step.result)
    return grouped("softsign", source, inside, rounds=lambda: library("Softsign", terms=1))


def log_sigmoid(wiring: Wiring, step: Step) -> Step | None:
    """The group that ends in a logarithm of a sigmoid."""
    inner = wiring.before(step.operands[0]) if step.kind == "Log" else None
    if inner is None or inner.kind != "Sigmoid":
        return None
    inside = wiring.between(inner.operands[0], step.result)
    group = grouped(
        "log sigmoid",
        inner.operands[0],
        inside,
        rounds=lambda: library("LogSigmoid", terms=1),
    )
    return replace(group, run=lambda x: -np.logaddexp(0.0, -x))


def softplus_with_threshold(wiring: Wiring, step: Step) -> Step | None:
    """The group that ends in a choice between x and its softplus."""
    if step.kind != "Where" or len(step.operands) != 3:
        return None
    condition, source, otherwise = step.operands
    above_t, over = wiring.before(condition), wiring.before(otherwise)
    factor = 1.0
    if over is not None and over.kind != "Softplus":
        factor, over = _times(over), wiring.before(over.operands[0])
    if above_t is None or over is None or (above_t.kind, over.kind) != ("Greater", "Softplus"):
        return None
    threshold = above_t.facts["numbers"][-1]
    (u,) = over.operands
    steep = 1.0
    if u != source:
        before = wiring.before(u)
        if before is None or before.operands != (source,):
            return None
        steep = _times(before)
    agrees = steep > 0 and abs(factor * steep - 1) <= 2.0**-50
    if threshold is None or above_t.operands != (u,) or not agrees:
        return None
    at_zero = math.log(2) / steep
    # the jump is twice log(1 + exp(-t)) / b, and what a factor 1 ± 2⁻⁵⁰ makes is within the loss
    jump = above(2 * float(np.logaddexp(0.0, -threshold)) / steep, 8)
    loss = Loss(
        roundings=14,
        largest=max(1.0, at_zero),
        library=True,
        jump=jump,
        uncovered="float32 runtimes differ in how they round Softplus",
    )
    inside = wiring.between(source, step.result)
    return grouped("softplus with a threshold", source, inside, rounds=lambda: loss)


def _times(step: Step) -> float:
    """The number that a step multiplies by; 0 where it does something else."""
    match step.facts.get("entry"):
        case ("times", (number,)):
            return float(number)
        case ("over", (number,)):
            return 1 / float(number)
    return 0.0
