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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from models.errors import ModelError
from models.proof.operators.operator import Operator, Stretch
from models.proof.program import Program
from models.proof.upward import FLOAT64, Precision, up, up_product, up_sum

RANGE = 2.0**126
"""Float32 values below it cannot overflow."""


@dataclass(frozen=True)
class Growth:
    """a + b s, for norms and errors of computed tensors."""

    a: float
    b: float

    def at(self, s: float) -> float:
        """The value, rounded up."""
        return up(self.a + self.b * s, 2)

    def plus(self, *others: "Growth") -> "Growth":
        """Sum, rounded up."""
        terms = (self, *others)
        return Growth(up_sum(term.a for term in terms), up_sum(term.b for term in terms))

    def times(self, factor: float) -> "Growth":
        """Product with a non-negative factor, rounded up."""
        return Growth(up_product(self.a, factor), up_product(self.b, factor))


@dataclass(frozen=True)
class Step:
    """An operator, its stretch, and the Lipschitz bound of its result relative to the input."""

    operator: Operator
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
        bounds = {step.operator.result: step.lipschitz_bound for step in self.steps}
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
        norms = {self.program.input_name: Growth(0.0, 1.0)}
        errors = {self.program.input_name: error}
        farthest, overflows = 2 * math.sqrt(size), False
        for step in self.steps:
            stretch, operands = step.stretch, step.operator.operands
            norm = _through(stretch, [norms[name] for name in operands])
            reach = [norms[name].plus(errors[name]) for name in operands]
            own = rounding_of(stretch, reach, precision=precision, entries=math.prod(step.shape))
            norms[step.operator.result] = norm.plus(Growth(stretch.offset, 0.0))
            errors[step.operator.result] = _through(
                stretch, [errors[name] for name in operands]
            ).plus(own)
            peak = _core(stretch, reach).times(stretch.absolute).plus(Growth(stretch.offset, 0.0))
            overflows |= not peak.at(farthest) < RANGE
        return Rounding(norms, errors, overflows)


def walk(program: Program) -> Walk:
    """Prove the Lipschitz bound of every tensor of a program.

    Raises:
        ModelError: If a bound overflows, so that nothing could be certified with it.
    """
    bounds = {program.input_name: 1.0}
    steps = []
    for operator, shape in zip(program.operators, program.shapes, strict=True):
        stretch = operator.stretch(shape)
        reach = stretch.of([bounds[name] for name in operator.operands])
        bound = up_product(stretch.factor, reach)
        if not math.isfinite(bound):
            raise ModelError(f"the Lipschitz bound overflows at {operator.name} ({operator.kind})")
        bounds[operator.result] = bound
        steps.append(Step(operator, shape, stretch, bound))
    return Walk(program, tuple(steps))


def rounding_of(
    stretch: Stretch, reach: Sequence[Growth], *, precision: Precision, entries: int
) -> Growth:
    """What one operator rounds: γ_r (absolute · core(ρ) + offset), and underflow.

    Args:
        stretch: the operator's row.
        reach: ρ, the norms of the computed operands.
        precision: the format computed in.
        entries: entries of the result.
    """
    if stretch.exact:
        return Growth(0.0, 0.0)
    rho = _core(stretch, reach)
    lost = Growth(0.0, 0.0)
    if stretch.roundings:
        offset = Growth(stretch.offset, 0.0)
        lost = rho.times(stretch.absolute).plus(offset).times(precision.gamma(stretch.roundings))
    flushed = up(8 * stretch.terms * math.sqrt(entries) * precision.smallest, 4)
    return lost.plus(rho.plus(Growth(up_sum((1.0, stretch.largest)), 0.0)).times(flushed))


def _through(stretch: Stretch, values: Sequence[Growth]) -> Growth:
    """The operator's rule f, a and b apart."""
    return _core(stretch, values).times(stretch.factor)


def _core(stretch: Stretch, values: Sequence[Growth]) -> Growth:
    """Core of the operands' values, a and b apart."""
    core: Callable[[Sequence[float]], float] = stretch.of
    return Growth(core([value.a for value in values]), core([value.b for value in values]))


def float64_rounding(found: Walk) -> Rounding:
    """Rounding of our own evaluation, which starts from float32 images and so casts nothing."""
    return found.rounding(FLOAT64, cast=False)
