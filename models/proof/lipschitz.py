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
from dataclasses import dataclass
from functools import cached_property

from models.proof.growth import Growth
from models.proof.patterns.catalogue import RECOGNISERS
from models.proof.patterns.group import find_groups
from models.proof.program import Program
from models.proof.steps import Step, follow, take_steps
from models.proof.upward import FLOAT64, Precision, up


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
        farthest = 2 * math.sqrt(size)
        overflows = follow(self.steps, norms, errors, precision=precision, farthest=farthest)
        return Rounding(norms, errors, overflows)


def walk(program: Program) -> Walk:
    """Prove the Lipschitz bound of every tensor of a program.

    Raises:
        ModelError: If a bound overflows, or an operator has none outside a group, so that nothing
            could be certified with it.
    """
    return Walk(program, take_steps(program.wiring, find_groups(program.wiring, RECOGNISERS)))


def float64_rounding(found: Walk) -> Rounding:
    """Rounding of our own evaluation, which starts from float32 images and so casts nothing."""
    return found.rounding(FLOAT64, cast=False)
