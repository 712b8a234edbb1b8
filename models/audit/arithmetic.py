"""Upward rounding in plain float64, written anew so that the audit shares no step with the prover.

Source: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", SIAM 2002, chapter 3.
"""

import math
from dataclasses import dataclass

import numpy as np

UNIT = 2.0**-53


def above(value: float, roundings: int) -> float:
    """Upper bound on what a non-negative value, computed with so many roundings, stands for."""
    if not value >= 0:  # a NaN is no bound
        return math.inf
    return max(math.nextafter(value * (1 + (roundings + 2) * 2.0**-52), math.inf), 2.0**-500)


def gamma(roundings: int, unit: float = UNIT) -> float:
    """γₙ = n u / (1 - n u), rounded up; infinite where the theory ends."""
    lost = roundings * unit
    return above(lost / (1 - lost), 3) if lost < 0.5 else math.inf


def length(values: np.ndarray) -> float:
    """Upper bound on the Euclidean norm; exactly 0 only where every entry is."""
    if not values.any():
        return 0.0
    return above(float(np.sqrt(np.square(values).sum())), values.size + 4)


def root_above(count: int) -> float:
    """Upper bound on the root of a whole number; exact where that is whole."""
    root = math.isqrt(count)
    return float(root) if root * root == count else above(math.sqrt(count), 2)


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: unit roundoff, smallest normal number, both as float64."""

    unit: float
    smallest: float


FLOAT64 = Format(UNIT, 2.0**-1022)
FLOAT32 = Format(2.0**-24, 2.0**-126)
