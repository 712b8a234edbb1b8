"""Two searches for the nearest image beyond a boundary, by gradients of length 1.

Both move an image on a sphere around its original, up the rival's lead, and let the sphere shrink
while the image is beyond the boundary and grow while it isn't.  DDN shrinks and grows by one fixed
share and needs no start; FMN begins where something was found, never lets the sphere grow beyond
the nearest find, and takes ever smaller steps on it, so that it settles in a local minimum.

Sources: Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger, "Decoupling Direction and Norm
for Efficient Gradient-Based L2 Adversarial Attacks and Defenses", CVPR 2019, arXiv:1811.09600;
Pintor, Roli, Brendel and Biggio, "Fast Minimum-norm Adversarial Attacks through Adaptive Norm
Constraints", NeurIPS 2021, arXiv:2102.12827.
"""

import math

import torch
from torch import Tensor

from models.attacks.crossing import Crossing, Nearest
from models.proof.directions import TINY, lengths, spread, unit

GROWTH = 0.05
"""Share by which a sphere shrinks or grows in a step; FMN's falls to `SETTLED`."""
SETTLED = 1e-4
LAST_STEP = 0.01
"""Of DDN, per step of length 1 at its beginning."""
FIRST_STEP = 0.3
"""Of FMN, per radius of the sphere; it falls to `SETTLED` times that."""
SHORTEST = 1e-3
"""Least radius of DDN's first sphere: at a tie the linear guess is 0."""


def ddn(crossing: Crossing, *, steps: int) -> Nearest:
    """Search from the originals, on spheres that begin where a linear program would cross.

    Args:
        crossing: rows and their rivals.
        steps: passes forward and backward.
    """
    originals = crossing.originals
    nearest, farthest = Nearest.none_of(crossing), _diameter(originals)
    gap, slope = crossing.slope(originals)
    radius = (-gap / lengths(slope).flatten().clamp_min(TINY)).clamp(SHORTEST, farthest)
    image = originals
    for step in range(steps):
        pace = LAST_STEP + (1 - LAST_STEP) * _cosine(step, steps)
        radius = radius * torch.where(gap > 0, 1 - GROWTH, 1 + GROWTH)
        moved = image - originals + pace * spread(radius, image) * unit(slope)
        image = _on_sphere(originals, moved, radius)
        gap, slope = crossing.slope(image)
        nearest = nearest.after(crossing, image, gap)
    return nearest


def fmn(crossing: Crossing, begun: Nearest, starts: Tensor, *, steps: int) -> Nearest:
    """Search from `starts`, inside the spheres through what was found before.

    Args:
        crossing: rows and their rivals.
        begun: what was found; only its distances are used.
        starts: images in [0, 1] to begin at, inside those spheres or not.
        steps: passes forward and backward.

    Returns:
        What this search found itself.
    """
    originals = crossing.originals
    nearest = Nearest.none_of(crossing)
    limit = begun.distances.clamp_max(_diameter(originals))
    radius, image = limit, starts
    for step in range(steps):
        gap, slope = crossing.slope(image)
        nearest = nearest.after(crossing, image, gap)
        limit = torch.minimum(limit, nearest.distances)
        fading = SETTLED + (1 - SETTLED) * _cosine(step, steps)
        growth = GROWTH * fading
        shrunk, grown = (
            torch.minimum(radius, nearest.distances) * (1 - growth),
            radius * (1 + growth),
        )
        radius = torch.minimum(torch.where(gap > 0, shrunk, grown), limit)
        moved = image - originals + FIRST_STEP * fading * spread(radius, image) * unit(slope)
        image = _on_sphere(originals, moved, radius)
    return nearest.after(crossing, image, crossing.gap(image))


def _on_sphere(originals: Tensor, steps: Tensor, radius: Tensor) -> Tensor:
    """Steps brought to a length, and their ends into [0, 1], which takes none farther away."""
    return (originals + spread(radius, steps) * unit(steps)).clamp(0, 1)


def _cosine(step: int, steps: int) -> float:
    """From 1 at the first step down towards 0."""
    return (1 + math.cos(math.pi * step / steps)) / 2


def _diameter(images: Tensor) -> float:
    """Of [0, 1]^d."""
    return math.sqrt(images[0].numel())
