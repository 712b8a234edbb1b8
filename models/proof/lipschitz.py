"""One walk over a program: how far distances, norms and rounding errors can grow.

Every tensor t carries three numbers, all relative to the input x and to s, at least the norm of
every input that is meant:

    ℓ(t)  ‖t(x) - t(x′)‖ ≤ ℓ(t) ‖x - x′‖ for all real x, x′
    v(t)  ‖t(x)‖ ≤ v(t), in exact arithmetic
    D(t)  ‖computed t(x) - exact t(x)‖ ≤ D(t), in a given precision

Each operator's rule f is monotone, homogeneous and subadditive, so all three go through it:
ℓ(y) = f(ℓ), v(y) = f(v) + ‖y at zero operands‖, D(y) = f(D) + what the operator rounds itself.
ℓ is relative to the input, so a tensor may be read any number of times, and induction over the
graph proves the walk.  v and D are kept as pairs a + b s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from models.errors import ModelError
from models.proof.growth import Growth
from models.proof.operators.operator import Stretch
from models.proof.patterns.catalogue import RECOGNISERS
from models.proof.patterns.group import find_groups, hidden_results
from models.proof.program import Program
from models.proof.upward import FLOAT64, Precision, up, up_product

RANGE = 2.0**126
"""Float32 values below it cannot overflow."""


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
        lipschitz_bound: of the result, relative to the input.
    """

    name: str
    kind: str
    operands: tuple[str, ...]
    result: str
    shape: tuple[int, ...]
    stretch: Stretch
    lipschitz_bound: float


@dataclass(frozen=True)
class Rounding:
    """Norm and rounding error of every tensor, by name, and the largest norm seen."""

    norms: dict[str, Growth]
    errors: dict[str, Growth]
    overflows: bool


@dataclass(frozen=True)
class Walk:
    """The Lipschitz bounds of a program, operator by operator."""

    program: Program
    steps: tuple[Step, ...]

    @cached_property
    def lipschitz_bounds(self) -> dict[str, float]:
        """ℓ of every tensor, by name."""
        bounds = {step.result: step.lipschitz_bound for step in self.steps}
        return {self.program.input_name: 1.0} | bounds

    def rounding(self, precision: Precision, *, cast: bool) -> Rounding:
        """Norm v and error D of every tensor.

        Args:
            precision: the format that a runtime computes in.
            cast: whether the input may be rounded to that format on the way in.
        """
        size = self.program.input_size
        error = Growth(0.0, 0.0)
        if cast:
            error = Growth(up(math.sqrt(size) * precision.smallest, 2), precision.unit)
        start = self.program.input_name
        norms, errors = {start: Growth(0.0, 1.0)}, {start: error}
        overflows = follow(self.steps, norms, errors, precision=precision, input_size=size)
        return Rounding(norms, errors, overflows)


def follow(
    steps: Sequence[Step],
    norms: dict[str, Growth],
    errors: dict[str, Growth],
    *,
    precision: Precision,
    input_size: int,
) -> bool:
    """Add norm and error of every step's result to `norms` and `errors`.

    Returns:
        Whether a value may overflow, for an input within 2√d of 0.
    """
    farthest, overflows = 2 * math.sqrt(input_size), False
    for step in steps:
        stretch, operands = step.stretch, step.operands
        reach = [norms[name].plus(errors[name]) for name in operands]
        own = stretch.lost(reach, precision=precision, entries=math.prod(step.shape))
        norm = stretch.through([norms[name] for name in operands])
        norms[step.result] = norm.plus(Growth(stretch.offset, 0.0))
        errors[step.result] = stretch.through([errors[name] for name in operands]).plus(own)
        overflows |= not stretch.peak(reach).at(farthest) < RANGE
        overflows |= not all(operand.at(farthest) < stretch.longest for operand in reach)
    return overflows


def walk(program: Program) -> Walk:
    """Prove the Lipschitz bound of every tensor of a program.

    Raises:
        ModelError: If a bound overflows, so that nothing could be certified with it.
    """
    wiring = program.wiring
    groups = find_groups(wiring, RECOGNISERS)
    hidden = hidden_results(wiring, groups)
    bounds = {program.input_name: 1.0}
    steps = []
    for operator in program.operators:
        if operator.result in hidden:
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
        steps.append(Step(operator.name, kind, operands, operator.result, shape, stretch, bound))
    return Walk(program, tuple(steps))


def float64_rounding(found: Walk) -> Rounding:
    """Rounding of our own evaluation, which starts from float32 images and so casts nothing."""
    return found.rounding(FLOAT64, cast=False)
