"""What was read of a file against what ONNX Runtime computes of it.

A proof speaks of the program that was read.  Where a rule read a node otherwise than the runtime
does, every bound is proven of something else; so the exact logits of the program are held against
those of the runtime, whose float32 can account for a small part of their size and no more.
"""

import numpy as np
from jaxtyping import Float

from models.errors import VerificationError

AGREEMENT = 1e-3
"""Largest difference that passes for rounding, relative to the largest logit."""
DRAWN = 16
"""Images where there is no data."""


def check_agreement(
    exact: Float[np.ndarray, "examples *logits"], computed: Float[np.ndarray, "examples *logits"]
) -> None:
    """Refuse a program that is not what the runtime computes.

    Args:
        exact: logits of the program that was read, or differences of them, in float64.
        computed: the runtime's, of the same images.

    Raises:
        VerificationError: If they differ by more than rounding does, or there is no image.
    """
    if not len(exact):
        raise VerificationError("no image to hold what was read against ONNX Runtime")
    accepted = AGREEMENT * float(np.abs(exact).max(initial=0.0))
    apart = np.abs(exact - computed).reshape(len(exact), -1).max(axis=1, initial=0.0)
    wrong = ~(np.isfinite(apart) & (apart <= accepted))
    if wrong.any():
        first = int(wrong.argmax())
        raise VerificationError(
            f"ONNX Runtime computes another function than the one that was read: example {first} "
            f"differs by {apart[first]:.3g}; accepted is {accepted:.3g}"
        )


def margins_of(
    logits: Float[np.ndarray, "examples classes"], predictions: np.ndarray
) -> Float[np.ndarray, " examples"]:
    """The logit of each prediction over the best other one, in float64."""
    own = np.arange(logits.shape[1]) == predictions[:, None]
    values = logits.astype(np.float64)
    return np.asarray(values[own] - np.where(own, -np.inf, values).max(axis=1))


def drawn_images(shape: tuple[int, ...]) -> Float[np.ndarray, "examples ..."]:
    """Float32 images whose pixels are uniform in [0, 1], always the same."""
    return np.random.default_rng(0).random((DRAWN, *shape), dtype=np.float32)
