"""Upper bounds in plain float64: every step rounds up by more than it can have lost.

A value computed from non-negative numbers by sums, products, divisions and square roots, with at
most n roundings on the way, is at least (1 - u)ⁿ times the exact one, u = 2⁻⁵³.  Multiplying by
1 + (n + 2) 2⁻⁵² makes up for it and for the multiplication itself.

Source: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", SIAM 2002, chapter 3.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from models.errors import CertifyError

FLOOR = 2.0**-500
"""No computed bound is smaller: flushed subnormals cannot turn a bound into 0."""


@dataclass(frozen=True)
class Precision:
    """A binary floating-point format.

    Attributes:
        unit: unit roundoff u, relative.
        smallest: smallest normal number μ; below it results may be flushed to 0.
    """

    unit: float
    smallest: float

    def gamma(self, roundings: int) -> float:
        """γₙ = n u / (1 - n u), rounded up: what n roundings can cost, relative.

        Raises:
            CertifyError: If n u exceeds 1/2, where the theory ends.
        """
        if roundings * self.unit > 0.5:
            raise CertifyError(
                f"a sum of {roundings} terms is too long to bound its rounding; "
                f"accepted are at most {int(0.5 / self.unit)} terms"
            )
        return up(roundings * self.unit / (1 - roundings * self.unit), 3)


def up(value: float, roundings: int) -> float:
    """An upper bound on the exact value behind a computed one.

    Args:
        value: computed from non-negative numbers; infinity is a legal bound.
        roundings: most roundings on the way to it.

    Raises:
        CertifyError: If the value is NaN or negative.
    """
    if math.isnan(value) or value < 0:
        raise CertifyError(f"a bound must be a non-negative number, found {value}")
    return max(math.nextafter(value * (1 + (roundings + 2) * 2.0**-52), math.inf), FLOOR)


def up_array(values: np.ndarray, roundings: int) -> np.ndarray:
    """`up`, entry by entry."""
    if np.isnan(values).any() or (values < 0).any():
        raise CertifyError("a bound must be a non-negative number, found NaN or a negative one")
    inflated = np.nextafter(values * (1 + (roundings + 2) * 2.0**-52), np.inf)
    return np.maximum(inflated, FLOOR)


def up_sum(values: Iterable[float]) -> float:
    """Upper bound on a sum of bounds."""
    terms = list(values)
    return up(sum(terms), len(terms))


def up_product(*factors: float) -> float:
    """Upper bound on a product of bounds; 0 only where a factor is exactly 0."""
    if any(factor == 0 for factor in factors):
        return 0.0
    product = 1.0
    for factor in factors:
        product = up(product * factor, 1)
    return product


def up_products(factor: float, factors: np.ndarray) -> np.ndarray:
    """`up_product` of one factor and each of others."""
    if factor == 0:
        return np.zeros_like(factors)
    above = factors != 0
    products = np.multiply(factors, factor, out=np.zeros_like(factors), where=above)
    return np.where(above, up_array(products, 1), 0.0)


def up_hypot(values: Iterable[float]) -> float:
    """Upper bound on the root of the sum of squares of bounds."""
    terms = list(values)
    largest = max(terms)
    if largest == 0 or math.isinf(largest):
        return largest
    scaled = sum((term / largest) ** 2 for term in terms)
    return up(largest * math.sqrt(scaled), len(terms) + 6)


def up_sqrt(numerator: int, denominator: int = 1) -> float:
    """Upper bound on the root of a fraction of whole numbers; exact where it is a small whole."""
    root = math.isqrt(numerator)
    if denominator == 1 and root**2 == numerator and root < 2**53:
        return float(root)
    return up(math.sqrt(numerator / denominator), 2)


def norm_bound(values: np.ndarray) -> float:
    """Upper bound on the Euclidean norm of float32 values or their float64 differences."""
    if not values.any():
        return 0.0
    return up(float(np.sqrt(np.sum(np.square(values, dtype=np.float64)))), values.size + 4)


def norm_bounds(rows: np.ndarray) -> np.ndarray:
    """`norm_bound`, row by row."""
    norms = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1))
    return np.where(rows.any(axis=1), up_array(norms, rows.shape[1] + 4), 0.0)


def check_arithmetic() -> None:
    """Make sure that float64 rounds to nearest here, which every bound rests on.

    Raises:
        CertifyError: If it does not.
    """
    one, half_ulp = np.float64(1), np.float64(2.0**-53)
    ties_to_even = one + half_ulp == one and one < one + 2 * half_ulp
    if not (ties_to_even and one + 3 * half_ulp == one + 4 * half_ulp):
        raise CertifyError("float64 does not round to nearest on this machine: no bound holds here")


FLOAT32 = Precision(unit=2.0**-24, smallest=2.0**-126)
FLOAT64 = Precision(unit=2.0**-53, smallest=2.0**-1022)
