"""Lower bounds: how far a program is seen to stretch, held against what was proved.

They prove nothing that a certificate rests on.  Beside an upper bound they tell how loose it is,
and one that lies above it shows that the upper bound is wrong.

An operator is run at a random point, where autograd gives its derivative J and the adjoint.  A
Krylov space of JᵀJ (Golub and Kahan) finds a direction of nearly the largest stretch in a few
dozen products; ‖Jᵀu‖ / ‖u‖ at its image is the lower bound.  For a linear operator that is its
norm; a piecewise linear one reaches its bound at most points.  The whole program is stretched by
ascent over pairs of inputs, from pixels in [0, 1], and the distance of the logits is lowered by
all that rounding can have added to it.

Source: G. Golub and W. Kahan, "Calculating the singular values and pseudo-inverse of a matrix",
SIAM J. Numer. Anal. 2, 1965.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import SoundnessError
from models.proof.lipschitz import Walk, float64_rounding
from models.proof.steps import Step


@dataclass(frozen=True)
class Effort:
    """How long to look.

    Attributes:
        krylov: directions of a Krylov space.
        ascent: steps of the ascent over pairs.
        lengths: how far the inputs of a pair are apart; far enough that rounding weighs little.
    """

    krylov: int = 40
    ascent: int = 30
    lengths: tuple[float, ...] = (0.1, 0.01, 1.0)


LITTLE = Effort(krylov=12, ascent=8, lengths=(0.1,))
"""Where a look is expensive."""
CHEAP = 2**16
"""Entries of all tensors of a step, or of a program, that are looked at with the full effort."""
ROUNDING = 2.0**-33
"""More than a product with J can be too long by, relative, with up to 10,000 terms in a sum."""
SETTLED = 1e-9
"""A Krylov space ends where the next direction is this short, relative."""

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LowerBounds:
    """What was seen, never above what is true.

    Attributes:
        operators: of each step of a walk, in order; None where it has no derivative.
        program: of all logits together, in logits per unit of input.
    """

    operators: tuple[float | None, ...]
    program: float


def lower_bounds(found: Walk, *, seed: int = 0) -> LowerBounds:
    """Lower bounds of each operator and of the program, held against the upper ones.

    Args:
        found: the walk over a program, with its upper bounds.
        seed: of the points and directions that are tried.

    Raises:
        SoundnessError: If one is above its upper bound: the proof is wrong, or was changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        operators = tuple(operator_lower_bound(found, step) for step in found.steps)
        program = program_lower_bound(found)
    for step, seen in zip(found.steps, operators, strict=True):
        if seen is not None:
            _check(seen, step.stretch.factor, f"{step.name} ({step.kind})")
    _check(program, found.steps[-1].lipschitz_bound, "the program")
    return LowerBounds(operators, program)


def operator_lower_bound(found: Walk, step: Step) -> float | None:
    """How far a step is seen to stretch, per unit of its operands' core.

    Where branches are added, the core is the sum of what they move by, and the most is reached by
    moving one of them alone.
    """
    shapes = found.program.wiring.shapes
    points = {name: torch.randn(1, *shapes[name], dtype=torch.float64) for name in step.operands}
    places = range(len(step.operands))
    groups = [[place] for place in places] if step.stretch.core == "sum" else [list(places)]
    seen = [_largest_stretch(step, points, moved=moved) for moved in groups]
    known = [value for value in seen if value is not None]
    return max(known) if known else None


def program_lower_bound(found: Walk) -> float:
    """The largest stretch that ascent over pairs of inputs finds, in logits per unit of input.

    The ends of a pair are its middle plus and minus half of a step of fixed length.  The step
    takes the direction of the adjoint's answer, as in power iteration; the middle climbs.
    """
    program, rounding = found.program, float64_rounding(found)
    size = program.input_size
    effort = _effort(size + sum(math.prod(shape) for shape in program.shapes))
    lengths = torch.tensor(effort.lengths, dtype=torch.float64)
    middle = torch.rand(len(lengths), size, dtype=torch.float64)
    step = _of_length(lengths, torch.randn_like(middle))
    best = 0.0
    for _ in range(effort.ascent):
        ends = torch.cat([middle + step / 2, middle - step / 2]).requires_grad_()
        first, second = program(ends.view(-1, *program.input_shape)).chunk(2)
        apart = first - second
        with torch.no_grad():
            farthest = float(ends.norm(dim=1).max()) * (1 + ROUNDING)
            lost = 2 * rounding.errors[found.steps[-1].result].at(farthest)
            length = (ends[: len(step)] - ends[len(step) :]).norm(dim=1)
            quotient = (apart.norm(dim=1) - lost) / length * (1 - ROUNDING)
        best = max([best, *(value for value in quotient.tolist() if math.isfinite(value))])
        (slope,) = torch.autograd.grad(apart.square().sum() / 2, ends)
        one, other = slope.chunk(2)
        step = _of_length(lengths, one - other)
        middle = middle + _of_length(lengths / 4, one + other)
    return best


def _of_length(lengths: Tensor, directions: Tensor) -> Tensor:
    """Rows of given lengths in the directions of others; a row without one stays 0."""
    return lengths[:, None] * torch.nn.functional.normalize(directions, dim=1, eps=1e-300)


def _largest_stretch(step: Step, points: dict[str, Tensor], *, moved: list[int]) -> float | None:
    """‖Jᵀu‖ / ‖u‖ at the best u of a Krylov space, J the derivative by the moved operands."""
    values = [points[name].clone() for name in step.operands]
    sizes = [values[place].numel() for place in moved]
    x = torch.cat([values[place].flatten() for place in moved]).requires_grad_()
    for place, part in zip(moved, torch.split(x, sizes), strict=True):
        values[place] = part.view_as(values[place])
    y = _run(step, values).flatten()
    if not y.requires_grad:
        return None
    probe = torch.zeros_like(y, requires_grad=True)
    (back,) = torch.autograd.grad(y, x, probe, create_graph=True)
    if not back.requires_grad:
        return 0.0

    def adjoint(u: Tensor) -> Tensor:
        product: Tensor = torch.autograd.grad(y, x, u, retain_graph=True)[0]
        return product

    def derivative(v: Tensor) -> Tensor:
        product: Tensor = torch.autograd.grad(back, probe, v, retain_graph=True)[0]
        return product

    most = _effort(x.numel() + y.numel()).krylov
    best = derivative(_leading_direction(derivative, adjoint, like=x.detach(), most=most))
    if not best.norm() > 0:
        return 0.0
    seen = float(adjoint(best / best.norm()).norm()) * (1 - ROUNDING)
    return seen if math.isfinite(seen) else None


def _leading_direction(derivative: Map, adjoint: Map, *, like: Tensor, most: int) -> Tensor:
    """Unit vector of nearly the largest stretch, in a Krylov space with kept orthogonality."""
    v = torch.randn_like(like)
    v = v / v.norm()
    directions: list[Tensor] = [v]
    images: list[Tensor] = [derivative(v)]
    for _ in range(min(most, like.numel()) - 1):
        v = adjoint(images[-1])
        scale = v.norm()
        basis = torch.stack(directions)
        for _ in range(2):  # once leaves what rounding has left
            v = v - basis.T @ (basis @ v)
        if not v.norm() > SETTLED * scale:
            break
        directions.append(v / v.norm())
        images.append(derivative(directions[-1]))
    made = torch.stack(images)
    if not made.isfinite().all():
        return directions[0]
    try:
        _, vectors = torch.linalg.eigh(made @ made.T)
    except RuntimeError:  # torch's LinAlgError: no convergence; any direction gives a lower bound
        return directions[0]
    best: Tensor = torch.nn.functional.normalize(torch.stack(directions).T @ vectors[:, -1], dim=0)
    return best


def _effort(entries: int) -> Effort:
    return Effort() if entries <= CHEAP else LITTLE


def _run(step: Step, values: list[Tensor]) -> Tensor:
    """The step's result from its operands' values."""
    if len(step.operators) == 1:
        return step.operators[0].run(*values)
    made = dict(zip(step.operands, values, strict=True))
    for operator in step.operators:
        made[operator.result] = operator.run(*(made[name] for name in operator.operands))
    return made[step.result]


def _check(seen: float, proved: float, where: str) -> None:
    """A lower bound above the upper one refutes it."""
    if seen > proved:
        raise SoundnessError(
            f"{where} is seen to stretch by {seen!r}, and its proven bound is {proved!r}: "
            "no bound of this program may be used"
        )
