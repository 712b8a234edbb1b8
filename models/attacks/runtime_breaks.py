"""What a float32 runtime makes of a find: where along its way ONNX Runtime leaves the class.

`radius_float32` speaks of every runtime that computes operator by operator as the file says, so
ONNX Runtime without graph optimisation may leave the class, or reach a tie, between that radius
and `radius`, but never inside it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from models.attacks.boundary import Segments
from models.proof.certificate import distance_bound
from models.proof.sealing import answers_of, run_onnx

FINEST = 22
"""Nearer points are the same float32 image."""
SHARES = (
    *(1 - 2.0**-k for k in range(1, FINEST)),
    1.0,
    *(1 + 2.0**-k for k in range(FINEST, 7, -1)),
)
"""Points of a way, dense at its end, in rising order."""


@dataclass(frozen=True)
class RuntimeBreaks:
    """The nearest points of some ways at which a runtime does not keep the class.

    Attributes:
        images: float32; the last point looked at where the class is kept all the way.
        found: class that wins or ties there; -1 where the class is kept all the way.
        distances: L2 from the original, rounded up, in input units; infinite where kept.
    """

    images: np.ndarray
    found: Int[np.ndarray, " examples"]
    distances: Float[np.ndarray, " examples"]


def nearest_runtime_breaks(model: bytes, segments: Segments) -> RuntimeBreaks:
    """Look along each way in ONNX Runtime, graph optimisation off, all points at once.

    Args:
        model: the ONNX file that was certified.
        segments: from the originals to what was found.
    """
    count = len(segments.predictions)
    ways = np.stack([segments.at(np.full(count, share)) for share in SHARES])
    logits = answers_of(run_onnx(model, ways.reshape(-1, *ways.shape[2:]), optimised=False))
    logits = logits.reshape(len(SHARES), count, -1)
    own = np.arange(logits.shape[2]) == segments.predictions[:, None]
    mine = np.where(own, logits, 0).sum(axis=2)
    others = np.where(own, -np.inf, logits)
    left = ~(mine > others.max(axis=2))  # a tie and a NaN too
    first = np.where(left.any(axis=0), left.argmax(axis=0), len(SHARES) - 1)
    rows = np.arange(count)
    images, broken = ways[first, rows], left.any(axis=0)
    far = np.array(
        [distance_bound(*pair) for pair in zip(segments.originals, images, strict=True)],
        dtype=np.float64,
    )
    return RuntimeBreaks(
        images,
        np.where(broken, others[first, rows].argmax(axis=1), -1),
        np.where(broken, far, np.inf),
    )
