"""Upper bounds on the distances between the rows of a linear head, one to a pair of classes."""

import numpy as np
from jaxtyping import Float

from models.proof.upward import norm_bound


def pair_distance_bounds(
    rows: Float[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows rows"]:
    """Upper bounds on the distance between each two rows; 0 only where they are equal."""
    exact = np.asarray(rows, dtype=np.float64)
    distances = np.zeros((len(exact), len(exact)))
    for first, row in enumerate(exact):
        for second in range(first):
            distances[first, second] = distances[second, first] = norm_bound(row - exact[second])
    return distances
