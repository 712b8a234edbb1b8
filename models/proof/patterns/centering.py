"""x less its own mean over some axes: layer centering, the normalisation of 1-Lipschitz networks.

Taking the mean of a group of entries for each of them is an orthogonal projection, and so is what
it leaves: distances do not grow.  The plain rules see a difference of two branches and say 2.
"""

import math
from functools import partial

import torch

from models.proof.operators.branches import Sum
from models.proof.operators.operator import Operator
from models.proof.operators.reduction import Reduction
from models.proof.patterns.group import Group, Wiring
from models.proof.patterns.places import before_moves, moved_places
from models.proof.steps import WalkedStretch, take_steps, walked

MEANS = ("ReduceMean", "GlobalAveragePool")


def recognise(wiring: Wiring, operator: Operator) -> Group | None:
    """The group that ends in the difference of x and its mean."""
    if not isinstance(operator, Sum) or len(operator.operands) != 2 or sum(operator.signs) != 0:
        return None
    for source, taken in (operator.operands, operator.operands[::-1]):
        mean = wiring.maker.get(before_moves(wiring, taken)[-1])
        if (
            isinstance(mean, Reduction)
            and mean.kind in MEANS
            and mean.operands == (source,)
            and _is_spread(wiring, source, mean, taken)
        ):
            inside = wiring.between(source, operator.result)
            theorem = partial(_stretch, wiring, source, inside)
            return Group("x less its mean", source, inside, theorem)
    return None


def _is_spread(wiring: Wiring, source: str, mean: Reduction, taken: str) -> bool:
    """Whether each place holds the mean of the entries that its own entry belongs to."""
    shape = wiring.shapes[source]
    kept = [1 if axis in mean.axes else side for axis, side in enumerate(shape, start=1)]
    expected = torch.arange(math.prod(kept)).reshape(1, *kept).expand(1, *shape)
    found = moved_places(wiring, mean.result, wiring.between(mean.result, taken))
    return torch.equal(found[taken], expected)


def _stretch(wiring: Wiring, source: str, inside: tuple[Operator, ...]) -> WalkedStretch:
    """A projection, which rounds as its operators do."""
    steps = take_steps(Wiring(source, inside, wiring.shapes), {})
    return walked(steps, source=source, factor=1.0, method="an orthogonal projection")
