"""The table's radii against the audit's own logits and bounds.

With gap g, allowance e for both evaluations' rounding and pair bound L, a radius r is refuted where
r > (g + e) / L for some rival, raised by the bounds' own allowance: no rounding excuses it.  It is
confirmed outright where r (1 - 1e-9) ≤ (g - e) / L for every rival.  What lies between is neither
(a gap of the size of e); the number of rows confirmed outright is reported.

`radius_float32` is refuted likewise above (g + e - A - B ‖x‖) / (L + B), with the certificate's own
A and B, which `bounds.confirmed_errors` holds against the audit's.
"""

import math
from typing import Any

import numpy as np

from models.audit.bounds import allowance
from models.audit.evaluation import evaluate
from models.audit.graph import Graph
from models.errors import VerificationError

BATCH = 256
"""Images that are evaluated at once."""


def check_radii(
    graph: Graph,
    images: np.ndarray,
    rows: dict[str, np.ndarray],
    *,
    factors: list[float],
    pairs: np.ndarray,
    float32: dict[str, Any] | None,
) -> int:
    """How many rows are confirmed outright.

    Args:
        graph: the steps of the file.
        images: float32, of `rows`.
        rows: the table's, by column.
        factors: the audit's own, a step.
        pairs: bounds for each two classes.
        float32: what a float32 runtime may lose of a gap, as claimed; None where no
            `radius_float32` may be claimed.

    Raises:
        VerificationError: At the first row whose class or radius is certainly wrong.
    """
    tables = None
    if float32 is not None:
        tables = np.array(float32["constant"]), np.array(float32["slope"])
    confirmed = 0
    for start in range(0, len(images), BATCH):
        batch = slice(start, start + BATCH)
        logits, errors = evaluate(graph, images[batch], factors)
        for at, (z, error) in enumerate(zip(logits, errors, strict=True), start=start):
            row = {name: column[at] for name, column in rows.items()}
            confirmed += _check_row(graph, images[at], row, z, error, pairs=pairs, float32=tables)
    return confirmed


def _check_row(
    graph: Graph,
    image: np.ndarray,
    row: dict[str, Any],
    z: np.ndarray,
    error: float,
    *,
    pairs: np.ndarray,
    float32: tuple[np.ndarray, np.ndarray] | None,
) -> bool:
    """Whether a row is confirmed outright; z its logits, each within the error."""
    index, c, radius = row["index"], int(row["prediction"]), float(row["radius"])
    allowed = 1 + allowance(graph)
    if not (0 <= c < len(z) and np.isfinite(z).all() and math.isfinite(error)):
        raise VerificationError(f"radii: example {index} has no finite logits or no such class")
    others = np.arange(len(z)) != c
    gaps, bounds = (z[c] - z)[others], pairs[c][others]
    slack = 2 * (1.5 * error + 2.0**-52 * np.abs(gaps))  # √2 D, for either program
    if (gaps + slack < 0).any():
        raise VerificationError(f"predictions: example {index} is not of class {c}")
    # where the gap never moves, only a class that is certainly ahead is no rival
    by_rival = _radii(np.where(bounds > 0, gaps + slack, gaps - slack), bounds, graph)
    most = float(by_rival.min()) * allowed
    if radius > most:
        raise VerificationError(
            f"radii: example {index} has radius {radius!r}; proved is at most {most!r}"
        )
    if not abs(row["margin"] - gaps.min()) <= slack.max():
        raise VerificationError(f"radii: example {index} has another margin")
    at_least = _radii(gaps - slack, bounds, graph)
    rival = np.flatnonzero(np.flatnonzero(others) == row["rival"])
    if not (len(rival) and at_least[rival[0]] <= most):
        raise VerificationError(
            f"radii: example {index} has a rival that does not limit its radius"
        )
    if float32 is not None:
        A, B = (table[c][others] for table in float32)
        norm = float(np.linalg.norm(image.astype(np.float64))) * (1 - 2.0**-26)
        most = float(_radii(gaps + slack - A - B * norm, bounds + B, graph).min()) * allowed
    _check_float32(float(row["radius_float32"]), int(index), most, covered=float32 is not None)
    return bool(radius * (1 - 1e-9) <= at_least.min())


def _check_float32(radius: float, index: int, most: float, *, covered: bool) -> None:
    """A radius where there may be one, from 0 to the most that is proved."""
    if covered and not 0 <= radius <= most:
        raise VerificationError(
            f"radii: example {index} has radius_float32 {radius!r}; "
            f"with the certificate's own float32 errors it is at most {most!r}"
        )
    if not covered and not math.isnan(radius):
        raise VerificationError(f"radii: example {index} has a radius_float32, and none is covered")


def _radii(gaps: np.ndarray, bounds: np.ndarray, graph: Graph) -> np.ndarray:
    """Quotient gap / L of each rival, in [0, √d]."""
    diameter = math.sqrt(math.prod(graph.shape))
    quotients = np.where(bounds > 0, gaps / np.where(bounds > 0, bounds, 1.0), diameter)
    return np.asarray(np.where(gaps > 0, np.minimum(quotients, diameter), 0.0))
