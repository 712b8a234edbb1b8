"""Where pairs of inputs begin that are to stretch the gap of two classes."""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from models.attacks.stretch import Starts
from models.proof.program import Program

FEW_PAIRS = 128
"""Pairs of classes up to which each begins in every way; more begin in one."""
LOOKED_AT = 500
"""Images among which the nearest of two classes is looked for."""
RANDOM_LENGTH = 0.1
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
    begin there, and where there are few classes everywhere.

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
    rows: list[tuple[np.ndarray, np.ndarray, int, int]] = []
    for one, other in pairs:
        place, step = noise.random(inputs.shape[1:]), noise.standard_normal(inputs.shape[1:])
        end = place + RANDOM_LENGTH * step / np.sqrt(np.square(step).sum())
        ways = [*known.crossing(one, other), *known.nearest(one, other), (place, end)]
        kept = ways if len(pairs) <= FEW_PAIRS else ways[:1]
        rows += [(first, second, one, other) for first, second in kept]
    first, second, ones, others = zip(*rows, strict=True)
    return Starts(np.stack(first), np.stack(second), np.array(ones), np.array(others))


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
