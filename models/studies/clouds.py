"""Clouds of points in two classes, and how far apart they are."""

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.datasets import make_moons

Cloud = Float[np.ndarray, "points inputs"]
SIDE, SQUARE = 64, 35  # of the images, and of the white square in one of them; pixels
MOONS = {1000: 1.3044, 5000: 1.3008}
"""Examples of both moons together, and the W₁ of the two."""
NOISE = 0.05


def moons(examples: int, *, draw: int = 0) -> tuple[Cloud, Cloud]:
    """Two interleaved half moons, the lower one and the upper one.

    Args:
        examples: of both together, an even number.
        draw: which sample; 0 is the one that `MOONS` speaks of.
    """
    points, labels = make_moons(examples, noise=NOISE, random_state=draw)
    return points[labels == 0], points[labels == 1]


def squares() -> tuple[Cloud, Cloud]:
    """A black image, and one with a white square in its middle: 35 apart."""
    white, edge = np.zeros((SIDE, SIDE)), (SIDE - SQUARE) // 2
    white[edge : edge + SQUARE, edge : edge + SQUARE] = 1
    return np.zeros((1, SIDE * SIDE)), white.reshape(1, -1)


def paired_distance(zero: Cloud, one: Cloud) -> float:
    """W₁ of two clouds of as many points: the mean distance of the cheapest pairing."""
    costs = cdist(zero, one)
    return float(costs[linear_sum_assignment(costs)].mean())
