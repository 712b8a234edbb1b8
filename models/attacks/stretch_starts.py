"""Where pairs of inputs begin that are to stretch the gap of two classes."""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from models.proof.program import Program
from models.proof.stretch import Starts, random_pair

FEW_PAIRS = 128
"""Pairs of classes up to which each begins in every way; more begin in one."""
MOST_PAIRS = 4950
"""Pairs of classes that begin at all, those of a hundred classes; each speaks of every other."""
MOST_ENTRIES = 2**26
"""Entries of the first ends, for images so large that fewer pairs must do."""
LOOKED_AT = 500
"""Images among which the nearest of two classes is looked for."""
PASSES = 16_000
"""Most passes of one input forward and backward in all."""
CHEAP = 2**16
"""Entries of all tensors of a program above which an eighth of them must do."""
STEPS = 30
FEWEST = 2


def pair_starts(
    inputs: np.ndarray,
    predictions: Int[np.ndarray, " examples"],
    finds: np.ndarray,
    found: Int[np.ndarray, " examples"],
    *,
    classes: int,
    seed: int,
) -> Starts:
    """Pairs of inputs for every two classes.

    An image beside the smallest change that was found between the two; the nearest two images of
    the two; a random place with a step of length 0.1.  Two classes that have the first or second
    begin there, and where there are few classes everywhere.  Of very many pairs those begin between
    which something was found, and of the others some, spread evenly.

    Args:
        inputs: float32 images, batch first.
        predictions: their classes.
        finds: images of another class near them, of the same shape.
        found: the class of each find; that of the image where there is none.
        classes: number of logits.
        seed: of the random places.
    """
    known = _Known(
        inputs[:LOOKED_AT].astype(np.float64),
        predictions[:LOOKED_AT],
        finds[:LOOKED_AT].astype(np.float64),
        found[:LOOKED_AT],
    )
    noise = np.random.default_rng(seed)
    pairs = list(itertools.combinations(range(classes), 2))
    everywhere = len(pairs) <= FEW_PAIRS
    most = min(MOST_PAIRS, max(1, MOST_ENTRIES // inputs[0].size))
    rows: list[tuple[np.ndarray, np.ndarray, int, int]] = []
    for one, other in _begun(pairs, known, most=most):
        random = random_pair(inputs.shape[1:], noise)
        ways = [*known.crossing(one, other), *known.nearest(one, other), random]
        kept = ways if everywhere else ways[:1]
        rows += [(first, second, one, other) for first, second in kept]
    first, second, ones, others = zip(*rows, strict=True)
    return Starts(np.stack(first), np.stack(second), np.array(ones), np.array(others))


def _begun(pairs: list[tuple[int, int]], known: "_Known", *, most: int) -> list[tuple[int, int]]:
    """The pairs of classes that begin, in their order."""
    if len(pairs) <= most:
        return pairs
    crossed = known.crossed
    first = [pair for pair in pairs if pair in crossed][:most]
    others = [pair for pair in pairs if pair not in crossed]
    places = np.linspace(0, len(others) - 1, most - len(first), dtype=np.int64)
    return sorted([*first, *(others[place] for place in places)])


def affordable_steps(program: Program, pairs: int) -> int:
    """How many steps so many pairs may take."""
    entries = program.input_size + sum(math.prod(shape) for shape in program.shapes)
    passes = PASSES if entries <= CHEAP else PASSES // 8
    return min(STEPS, max(FEWEST, passes // (2 * pairs)))


@dataclass(frozen=True)
class _Known:
    """Images, their classes, and what was found beside them."""

    inputs: np.ndarray
    predictions: np.ndarray
    finds: np.ndarray
    found: np.ndarray

    @property
    def crossed(self) -> set[tuple[int, int]]:
        """Pairs of classes, the lower first, between which an image was moved."""
        pairs = np.sort(np.stack((self.predictions, self.found)), axis=0).T.tolist()
        return {(one, other) for one, other in pairs if one != other}

    def crossing(self, one: int, other: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The image that was moved least from one of the classes to the other, and its find."""
        there = (self.predictions == one) & (self.found == other)
        back = (self.predictions == other) & (self.found == one)
        if not (there | back).any():
            return []
        least = int(np.where(there | back, self._moved, np.inf).argmin())
        return [(self.inputs[least], self.finds[least])]

    def nearest(self, one: int, other: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The two nearest images of two classes."""
        ones, others = (np.flatnonzero(self.predictions == label) for label in (one, other))
        if not len(ones) or not len(others):
            return []
        between = self._apart[np.ix_(ones, others)]
        at, to = np.unravel_index(int(between.argmin()), between.shape)
        return [(self.inputs[ones[at]], self.inputs[others[to]])]

    @cached_property
    def _moved(self) -> np.ndarray:
        """L2 lengths of the changes that were found."""
        steps = (self.finds - self.inputs).reshape(len(self.inputs), -1)
        return np.asarray(np.sqrt(np.square(steps).sum(axis=1)))

    @cached_property
    def _apart(self) -> np.ndarray:
        """Squared L2 distances of every two images."""
        flat = self.inputs.reshape(len(self.inputs), -1)
        squares = np.square(flat).sum(axis=1)
        return np.asarray(squares[:, None] + squares - 2 * flat @ flat.T)
