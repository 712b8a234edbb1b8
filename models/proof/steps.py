"""Steps of a walk: an operator or a group each, and what it makes of distances, norms and errors.

A group may round as its operators do, one after the other: its stretch then walks them again from
its own source.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.errors import ModelError
from models.proof.growth import NOTHING, Growth
from models.proof.operators.operator import Operator, Stretch
from models.proof.patterns.group import Group, Wiring, needed_results, refuse_alone
from models.proof.upward import FLOAT64, Precision, up_product


@dataclass(frozen=True)
class Step:
    """An operator or a group, its stretch, and the Lipschitz bound of its result.

    Attributes:
        name: of the operator; of a group, its last one's.
        kind: operator of the file, or kind of the group.
        operands: tensors that it reads.
        result: tensor that it makes.
        shape: of the result, for one example.
        stretch: what it does to distances.
        lipschitz_bound: of the result, relative to the input of the walk.
        operators: those that make the result of the operands, in order; one, but for a group.
    """

    name: str
    kind: str
    operands: tuple[str, ...]
    result: str
    shape: tuple[int, ...]
    stretch: Stretch
    lipschitz_bound: float
    operators: tuple[Operator, ...]


def take_steps(wiring: Wiring, groups: Mapping[str, Group]) -> tuple[Step, ...]:
    """All steps that the last tensor of a wiring needs, in order.

    Raises:
        ModelError: If a bound overflows, or an operator has none outside a group.
    """
    refuse_alone(wiring, groups)
    needed = needed_results(wiring, groups)
    bounds = {wiring.input_name: 1.0}
    steps = []
    for operator in wiring.operators:
        if operator.result not in needed:
            continue
        group = groups.get(operator.result)
        kind = operator.kind if group is None else group.kind
        operands = operator.operands if group is None else (group.source,)
        shape = wiring.shapes[operator.result]
        stretch = operator.stretch(shape) if group is None else group.stretch
        bound = up_product(stretch.factor, stretch.of([bounds[name] for name in operands]))
        if not math.isfinite(bound):
            raise ModelError(f"the Lipschitz bound overflows at {operator.name} ({operator.kind})")
        bounds[operator.result] = bound
        behind = (operator,) if group is None else group.operators
        named = (operator.name, kind, operands, operator.result)
        steps.append(Step(*named, shape, stretch, bound, behind))
    return tuple(steps)


def follow(
    steps: Sequence[Step],
    norms: dict[str, Growth],
    errors: dict[str, Growth],
    *,
    precision: Precision,
    farthest: float,
) -> bool:
    """Add norm and error of every step's result to `norms` and `errors`.

    Args:
        steps: in order.
        norms: v of every tensor that the steps read from outside.
        errors: D of the same.
        precision: the format computed in.
        farthest: largest norm of an input for which overflow is asked.

    Returns:
        Whether a value may overflow.
    """
    overflows = False
    for step in steps:
        stretch, operands = step.stretch, step.operands
        reach = [norms[name].plus(errors[name]) for name in operands]
        entries = math.prod(step.shape)
        own, over = stretch.rounded(reach, precision=precision, entries=entries, farthest=farthest)
        norm = stretch.through([norms[name] for name in operands])
        norms[step.result] = norm.plus(Growth(stretch.offset, 0.0))
        errors[step.result] = stretch.through([errors[name] for name in operands]).plus(own)
        overflows |= over
    return overflows


@dataclass(frozen=True)
class WalkedStretch(Stretch):
    """A group's theorem, whose rounding is that of its operators one after the other.

    The computed result for a computed operand u′ is compared with the exact one for u′: the steps
    are walked from v = ρ(u), D = 0.  From u′ to u the theorem itself leads.

    Attributes:
        source: the tensor that the group reads.
        steps: from the source to the result.
    """

    source: str = ""
    steps: tuple[Step, ...] = ()

    def rounded(
        self,
        reach: Sequence[Growth],
        *,
        precision: Precision,
        entries: int,  # noqa: ARG002 - the steps have their own
        farthest: float,
    ) -> tuple[Growth, bool]:
        """The error of the last step, from an exact operand; whether any of them may overflow."""
        norms, errors = {self.source: reach[0]}, {self.source: NOTHING}
        over = follow(self.steps, norms, errors, precision=precision, farthest=farthest)
        return errors[self.steps[-1].result], over


def walked(steps: tuple[Step, ...], *, source: str, factor: float, method: str) -> WalkedStretch:
    """The stretch of a group with a factor of its own and the rounding of its steps."""
    norms, errors = {source: NOTHING}, {source: NOTHING}
    follow(steps, norms, errors, precision=FLOAT64, farthest=0.0)
    refused = [step.stretch.refused_float32 for step in steps if step.stretch.refused_float32]
    assumed = [step.stretch.assumption for step in steps if step.stretch.assumption]
    return WalkedStretch(
        method=method,
        factor=factor,
        offset=norms[steps[-1].result].a,
        refused_float32=refused[0] if refused else "",
        assumption="; ".join(dict.fromkeys(assumed)),
        source=source,
        steps=steps,
    )
