"""How far the gap of two classes is seen to move: pairs of inputs that stretch it the most.

The change of a gap z_i - z_j between two inputs, over their distance, is at most L_ij, and every
radius rests on that.  A pair is moved as in `lower_bounds`: its step takes the direction in
which both ends' gradients agree, its middle climbs where they differ.  What is seen is lowered by
all that rounding can have added, so that one quotient above L_ij refutes the bound.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from models.proof.bounds import Bounds
from models.proof.certificate import input_norms
from models.proof.directions import lengths, spread, unit
from models.proof.program import Program
from models.proof.upward import up_array

SHORTEST = 1e-3
"""Least distance of a pair: nearer ones tell more of rounding than of the program."""
RANDOM_LENGTH = 0.1
"""How far a random pair is apart: far enough that rounding weighs little."""
ROUNDING = 2.0**-50
"""More than six float64 roundings, relative."""
TOGETHER = 64
"""Pairs moved in one batch."""
MOST_QUOTIENTS = 2**24
"""Of a batch, each of its pairs by every two classes; of many classes fewer pairs go together."""


@dataclass(frozen=True)
class Starts:
    """Pairs of inputs, and the two classes whose gap each is to stretch.

    Attributes:
        first: float64, batch first.
        second: the same shape.
        one: a class for each pair.
        other: another class for each.
    """

    first: np.ndarray
    second: np.ndarray
    one: Int[np.ndarray, " pairs"]
    other: Int[np.ndarray, " pairs"]

    def part(self, rows: slice) -> "Starts":
        """Some of the pairs."""
        return Starts(self.first[rows], self.second[rows], self.one[rows], self.other[rows])


@dataclass(frozen=True)
class Stretches:
    """What was seen of every two classes, and the pair of inputs that came nearest to its bound.

    Attributes:
        seen: in logits per unit of input, rounded down; symmetric, at least 0.
        share: the largest of them as a share of its bound; above 1 the bound is refuted.
        classes: the two classes of that share, the lower first.
        inputs: the two inputs that reach it, float64.
    """

    seen: Float[np.ndarray, "classes classes"]
    share: float
    classes: tuple[int, int]
    inputs: tuple[np.ndarray, np.ndarray]

    def and_also(self, other: "Stretches") -> "Stretches":
        """The most of both."""
        seen = np.maximum(self.seen, other.seen)
        best = self if self.share >= other.share else other
        return Stretches(seen, best.share, best.classes, best.inputs)


def random_pair(
    input_shape: tuple[int, ...], noise: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A place in [0, 1] and one beside it, in any direction."""
    place, step = noise.random(input_shape), noise.standard_normal(input_shape)
    return place, place + RANDOM_LENGTH * step / np.sqrt(np.square(step).sum())


def steepest(program: Program, bounds: Bounds, starts: Starts, *, steps: int) -> Stretches:
    """Stretch pairs of inputs; every pair speaks of every two classes.

    Args:
        program: what was bounded; run in float64.
        bounds: what was proved of it.
        starts: where to begin; a pair nearer than `SHORTEST` is drawn apart.
        steps: passes forward and backward of both ends.
    """
    together = max(1, min(TOGETHER, MOST_QUOTIENTS // program.classes**2))
    parts = [
        _climb(program, bounds, starts.part(slice(start, start + together)), steps=steps)
        for start in range(0, len(starts.one), together)
    ]
    return functools.reduce(Stretches.and_also, parts)


def _climb(program: Program, bounds: Bounds, starts: Starts, *, steps: int) -> Stretches:
    """The most that is seen on the way up."""
    first, second = (torch.from_numpy(ends) for ends in (starts.first, starts.second))
    one, other = (torch.from_numpy(labels)[:, None] for labels in (starts.one, starts.other))
    middle, step = (first + second) / 2, first - second
    length = lengths(step).clamp_min(SHORTEST)
    nothing = np.zeros((program.classes, program.classes))
    seen = Stretches(nothing, 0.0, (0, 1), (starts.first[0], starts.second[0]))
    for _ in range(steps):
        ends = torch.cat([middle + step / 2, middle - step / 2]).detach().requires_grad_()
        logits = program(ends)
        seen = seen.and_also(_seen(bounds, ends.detach().numpy(), logits.detach().numpy()))
        gap = logits.gather(1, one.repeat(2, 1)) - logits.gather(1, other.repeat(2, 1))
        (slope,) = torch.autograd.grad(gap.sum(), ends)
        near, far = slope.chunk(2)
        rises = (gap[: len(one)] >= gap[len(one) :]).double() * 2 - 1
        side = spread(rises.detach(), step)
        step = length * unit(side * (near + far))
        middle = middle + length / 4 * unit(side * (near - far))
    return seen


def _seen(bounds: Bounds, ends: np.ndarray, logits: np.ndarray) -> Stretches:
    """What pairs of inputs show, first ends before second ends."""
    (first, second), (z, there) = np.split(ends, 2), np.split(logits, 2)
    found = quotients(bounds, first, second, z, there)
    share = _of_bounds(found, bounds)
    pair, one, other = (int(at) for at in np.unravel_index(int(share.argmax()), share.shape))
    return Stretches(
        found.max(axis=0),
        float(share.max()),
        (min(one, other), max(one, other)),
        (first[pair].copy(), second[pair].copy()),
    )


def quotients(
    bounds: Bounds,
    first: np.ndarray,
    second: np.ndarray,
    logits: Float[np.ndarray, "pairs classes"],
    logits_there: Float[np.ndarray, "pairs classes"],
) -> Float[np.ndarray, "pairs classes classes"]:
    """For each pair of inputs and every two classes (|change of the gap| - e - e′) / distance.

    Args:
        bounds: of which only the rounding of gaps is used.
        first: one end of each pair, float64.
        second: the other end.
        logits: of the first ends, evaluated in float64.
        logits_there: of the second ends.

    Returns:
        Rounded down, at least 0; 0 too where the ends are nearer than `SHORTEST` or a logit is
        not finite.
    """
    apart = logits - logits_there
    moved = np.abs(apart[:, :, None] - apart[:, None, :])
    size = np.maximum(np.abs(logits), np.abs(logits_there)).max(axis=1)
    lost = ROUNDING * size[:, None, None]
    for ends in (first, second):
        norms = input_norms(ends)[:, None, None]
        lost = lost + up_array(bounds.float64.constant + bounds.float64.slope * norms, 2)
    distance = input_norms(first - second) * (1 + ROUNDING)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (moved - lost) / distance[:, None, None] * (1 - ROUNDING)
    apart_enough = (distance >= SHORTEST)[:, None, None]
    return np.where(apart_enough & np.isfinite(found), np.maximum(found, 0.0), 0.0)


def _of_bounds(found: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Quotients as shares of their bounds; what moves at all where nothing may is infinite."""
    limit = bounds.pair_bounds
    share = np.divide(found, limit, out=np.zeros_like(found), where=limit > 0)
    return np.where((limit == 0) & (found > 0), np.inf, share)
