"""Upper bounds on the distances between the rows of a linear head, one to a pair of classes."""

import numpy as np
from jaxtyping import Float

from models.proof.upward import norm_bounds


def pair_distance_bounds(
    rows: Float[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows rows"]:
    """Upper bounds on the distance between each two rows; 0 only where they are equal."""
    exact = np.asarray(rows, dtype=np.float64)
    distances = np.zeros((len(exact), len(exact)))
    for at, row in enumerate(exact):
        distances[at, :at] = distances[:at, at] = norm_bounds(row - exact[:at])
    return distances
