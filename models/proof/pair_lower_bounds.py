"""Lower bounds of class pairs: how fast the gap of two logits is seen to move.

They prove nothing that a certificate rests on.  Beside L_ij they tell how loose it is, and one that
lies above it shows that it is wrong.  No data is needed: pairs of inputs begin at random pixels in
[0, 1] and are stretched as in `stretch`.
"""

import math
from itertools import combinations

import numpy as np

from models.errors import SoundnessError
from models.proof.bounds import Bounds, Pairs
from models.proof.lower_bounds import CHEAP
from models.proof.program import Program
from models.proof.stretch import Starts, random_pair, steepest

MOST = 64
"""Pairs that are looked at; a hundred classes have 4,950."""
FEW = 2
"""Pairs that are looked at where a look is expensive."""
STEPS = 10


def pair_lower_bounds(program: Program, bounds: Bounds, *, seed: int = 0) -> Pairs:
    """Lower bounds of L_ij, held against the upper ones.

    Args:
        program: what was bounded.
        bounds: what was proved of it.
        seed: of the starts.

    Returns:
        Classes × classes, in logits per unit of input; 0 on the diagonal, NaN where there are so
        many pairs that one was not looked at.

    Raises:
        SoundnessError: If one is above its upper bound: the proof is wrong, or was changed.
    """
    pairs = _chosen(bounds.pair_bounds, most=_most(program))
    noise = np.random.default_rng(seed)
    first, second = zip(*(random_pair(program.input_shape, noise) for _ in pairs), strict=True)
    starts = Starts(np.stack(first), np.stack(second), *np.array(pairs).T)
    seen = steepest(program, bounds, starts, steps=STEPS).seen
    table = np.full_like(bounds.pair_bounds, math.nan)
    np.fill_diagonal(table, 0.0)
    for i, j in pairs:
        value, bound = float(seen[i, j]), float(bounds.pair_bounds[i, j])
        if value > bound:
            raise SoundnessError(
                f"the gap of classes {i} and {j} is seen to move by {value!r} per unit of input, "
                f"and its proven bound is {bound!r}: no bound of this program may be used"
            )
        table[i, j] = table[j, i] = value
    return table


def _most(program: Program) -> int:
    entries = program.input_size + sum(math.prod(shape) for shape in program.shapes)
    return MOST if entries <= CHEAP else FEW


def _chosen(pair_bounds: Pairs, *, most: int) -> list[tuple[int, int]]:
    """Pairs spread evenly over the order of their bounds, the least and the largest among them."""
    pairs = sorted(combinations(range(len(pair_bounds)), 2), key=lambda pair: pair_bounds[pair])
    places = np.linspace(0, len(pairs) - 1, min(most, len(pairs)))
    return [pairs[int(place)] for place in places]
