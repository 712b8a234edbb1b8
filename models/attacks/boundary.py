"""The last steps to a boundary, decided as a recheck decides: float32 images, float64 logits."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from models.attacks.recheck import Breaks, recheck, winners
from models.proof.bounds import Bounds
from models.proof.program import Program

HALVINGS = 26
"""More would not move a float32 image."""
BEYOND = (1.0, 1 + 2.0**-16, 1 + 2.0**-10, 1 + 2.0**-5)
"""How far along its step an image is pushed until it is decided that it is across."""


@dataclass(frozen=True)
class Segments:
    """The ways from float32 images in [0, 1] to others, to be looked at point by point.

    Attributes:
        originals: where each begins.
        images: where it leads.
        predictions: classes that are to be left.
    """

    originals: np.ndarray
    images: np.ndarray
    predictions: Int[np.ndarray, " examples"]

    def at(self, along: Float[np.ndarray, " examples"]) -> np.ndarray:
        """The float32 images in [0, 1] at some share of each way."""
        start = self.originals.astype(np.float64)
        share = along.reshape(-1, *[1] * (start.ndim - 1))
        return np.clip((start + share * (self.images - start)).astype(np.float32), 0, 1)

    def across(
        self, program: Program, bounds: Bounds, along: Float[np.ndarray, " examples"]
    ) -> Bool[np.ndarray, " examples"]:
        """Where another class certainly wins, in exact arithmetic."""
        _, leads = winners(program, bounds, self.at(along), self.predictions)
        across: np.ndarray = leads > 0
        return across


def nearest_breaks(program: Program, bounds: Bounds, segments: Segments) -> Breaks:
    """The nearest confirmed break on each segment, found by bisection.

    Args:
        program: what is searched.
        bounds: what was proved of it; only the rounding of gaps is used.
        segments: from the originals to what a search has found.

    Returns:
        Breaks of the classes, at distances that are rounded up; not confirmed where the image, and
        whatever lies a little beyond it, is not decided to have another class.
    """
    beyond = np.ones(len(segments.predictions))
    across = np.zeros(len(beyond), dtype=bool)
    for push in BEYOND:
        beyond = np.where(across, beyond, push)
        across = segments.across(program, bounds, beyond)
    inside = np.zeros(len(beyond))
    for _ in range(HALVINGS):
        middle = (inside + beyond) / 2
        across = segments.across(program, bounds, middle)
        beyond, inside = np.where(across, middle, beyond), np.where(across, inside, middle)
    return recheck(
        program,
        bounds,
        originals=segments.originals,
        attacked=segments.at(beyond),
        labels=segments.predictions,
        eps=math.inf,
    )


def edge_breaks(
    program: Program, bounds: Bounds, segments: Segments, radii: Float[np.ndarray, " examples"]
) -> Breaks:
    """What is found at the last point of each segment inside the open ball: a break refutes.

    No bound promises that float64 can tell: where a radius is exact, the class is lost just outside
    it.  Then exact arithmetic is asked.
    """
    inside = np.nextafter(np.maximum(radii, 0), 0)
    found = recheck(
        program,
        bounds,
        originals=segments.originals,
        attacked=segments.images,
        labels=segments.predictions,
        eps=inside,
    )
    balls = radii > 0
    confirmed, undecided = found.confirmed & balls, found.undecided & balls
    return dataclasses.replace(found, confirmed=confirmed, undecided=undecided)
