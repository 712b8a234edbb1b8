"""The file that shows a contradiction again: two images, or two inputs, and what was claimed.

Both kinds are plain arrays in an npz file; nothing in it is ever run.
"""

import io
from typing import Any

import numpy as np
import pyarrow as pa

from models.proof.soundness import Exceeded, Violation
from models.splits import Split

BREAK = ("original", "attacked", "certified", "radius", "semantics")
"""Keys of an image that left its class inside a radius."""
STEEP = ("first", "second", "one", "other", "bound")
"""Keys of two inputs between which a gap moved beyond its bound."""


def breaking_image(split: Split, violation: Violation, breaks: pa.Table) -> bytes:
    """The original, the image inside its radius, and what was claimed of the first."""
    original = split.take(slice(violation.row, violation.row + 1)).inputs()[0]
    attacked = np.frombuffer(breaks["attacked"][violation.attack_row].as_py(), dtype="<f4")
    return _npz(
        original=original,
        attacked=attacked.reshape(original.shape),
        certified=violation.certified,
        found=violation.found,
        radius=violation.radius,
        distance=violation.distance,
        semantics=violation.semantics,
    )


def steep_pair(exceeded: Exceeded, stretches: pa.Table, shape: tuple[int, ...]) -> bytes:
    """The two inputs, the two classes, and what was claimed of their gap."""
    inputs = np.array(stretches["inputs"][exceeded.stretch_row].as_py(), dtype=np.float64)
    first, second = inputs.reshape(2, *shape)
    return _npz(
        first=first,
        second=second,
        one=exceeded.one,
        other=exceeded.other,
        seen=exceeded.seen,
        bound=exceeded.bound,
    )


def _npz(**found: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **found)
    return buffer.getvalue()
