"""Lower bounds of class pairs: how fast the gap of two logits is seen to move.

They prove nothing that a certificate rests on.  Beside L_ij they tell how loose it is, and one that
lies above it shows that it is wrong.

For each pair of classes that is looked at, two inputs are driven apart along the slope of the
gap's change, from pixels in [0, 1].  What the gap moved by, less all that rounding can have added
to it at both ends, over the distance of the inputs, is a lower bound of L_ij.
"""

import math
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from models.errors import SoundnessError
from models.proof.bounds import Bounds, Pairs
from models.proof.lower_bounds import CHEAP, ROUNDING, of_length
from models.proof.program import Program

MOST = 64
"""Pairs that are looked at; a hundred classes have 4,950."""
FEW = 2
"""Pairs that are looked at where a look is expensive."""
STEPS = 10
LENGTH = 0.1
"""How far the two inputs are apart; far enough that rounding weighs little."""


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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        seen = _steepest(program, bounds, pairs)
    table = np.full_like(bounds.pair_bounds, math.nan)
    np.fill_diagonal(table, 0.0)
    for (i, j), value in zip(pairs, seen, strict=True):
        if value > bounds.pair_bounds[i, j]:
            raise SoundnessError(
                f"the gap of classes {i} and {j} is seen to move by {value!r} per unit of input, "
                f"and its proven bound is {float(bounds.pair_bounds[i, j])!r}: no bound of this "
                "program may be used"
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


def _steepest(program: Program, bounds: Bounds, pairs: list[tuple[int, int]]) -> list[float]:
    """The largest stretch of each pair's gap that the ascent finds.

    The ends of a step are its middle plus and minus half of it.  The step takes the direction of
    the slope of the gap's change; the middle climbs.
    """
    first, second = torch.tensor(pairs).T
    constant, slope = (
        torch.from_numpy(table)[first, second]
        for table in (bounds.float64.constant, bounds.float64.slope)
    )
    lengths = torch.full((len(pairs),), LENGTH, dtype=torch.float64)
    middle = torch.rand(len(pairs), program.input_size, dtype=torch.float64)
    step = of_length(lengths, torch.randn_like(middle))
    best = torch.zeros_like(lengths)
    for _ in range(STEPS):
        ends = torch.cat([middle + step / 2, middle - step / 2]).requires_grad_()
        gaps = _gaps(program, ends, first.repeat(2), second.repeat(2))
        here, there = gaps.chunk(2)
        moved = here - there
        with torch.no_grad():
            length = (ends[: len(step)] - ends[len(step) :]).norm(dim=1)
            farthest = ends.norm(dim=1).max() * (1 + ROUNDING)
            lost = 2 * (constant + slope * farthest) + 2.0**-52 * (here.abs() + there.abs())
            quotient = (moved.abs() - lost) / length * (1 - ROUNDING)
            best = torch.maximum(best, quotient.nan_to_num(0.0, posinf=0.0))
        (climb,) = torch.autograd.grad(moved.square().sum() / 2, ends)
        one, other = climb.chunk(2)
        step = of_length(lengths, one - other)
        middle = middle + of_length(lengths, one + other)
    return [float(value) for value in best]


def _gaps(program: Program, inputs: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """z_i - z_j, each example with its own i and j."""
    logits = program(inputs.view(-1, *program.input_shape))
    rows = torch.arange(len(inputs))
    gaps: Tensor = logits[rows, first] - logits[rows, second]
    return gaps
