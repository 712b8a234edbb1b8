"""Arrays of exact rational numbers: whole numbers over one denominator.

Every float32 number is a whole number over a power of two, and sums and products of such numbers
are again: nothing is rounded, so a sign that is read off is the sign.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

DIGITS = 53
"""Binary digits of a float64; of a float32 the last 29 are 0."""


@dataclass(frozen=True)
class Rationals:
    """Entries of an array: `whole` over `under`.

    Attributes:
        whole: Python's integers, in an array of objects.
        under: the denominator of all, above 0.
    """

    whole: np.ndarray
    under: int = 1

    @classmethod
    def of(cls, array: np.ndarray) -> "Rationals":
        """The very numbers that an array of finite floats holds."""
        mantissas, exponents = np.frexp(np.asarray(array, dtype=np.float64).reshape(-1))
        digits = np.ldexp(mantissas, DIGITS).astype(np.int64)
        zeros = _trailing_zeros(digits)
        digits, exponents = digits >> zeros, exponents - DIGITS + zeros
        lowest = min(0, int(np.where(digits != 0, exponents, 0).min(initial=0)))
        shifts = np.where(digits != 0, exponents - lowest, 0)
        whole = digits.astype(object) << shifts.astype(object)
        return cls(np.asarray(whole, dtype=object).reshape(np.shape(array)), 1 << -lowest)

    def over(self, under: int) -> np.ndarray:
        """The numerators over a multiple of the denominator."""
        return np.asarray(self.whole * (under // self.under), dtype=object)

    def times(self, other: "Rationals") -> "Rationals":
        """Products, entry by entry."""
        return Rationals(self.whole * other.whole, self.under * other.under)

    def scaled(self, factor: Fraction) -> "Rationals":
        """The same factor to each entry."""
        return Rationals(self.whole * factor.numerator, self.under * factor.denominator)

    def plus(self, other: "Rationals") -> "Rationals":
        """Sums, entry by entry."""
        mine, others, under = together(self, other)
        return Rationals(mine + others, under)

    def entry(self, place: tuple[int, ...]) -> Fraction:
        """One of the numbers."""
        return Fraction(self.whole[place], self.under)


def together(one: Rationals, other: Rationals) -> tuple[np.ndarray, np.ndarray, int]:
    """Numerators of both over one denominator, and that denominator."""
    under = math.lcm(one.under, other.under)
    return one.over(under), other.over(under), under


def _trailing_zeros(digits: np.ndarray) -> np.ndarray:
    """How often each number is even; 0 for the number 0."""
    lowest = digits & -digits
    return np.asarray(np.where(digits != 0, np.frexp(lowest.astype(np.float64))[1] - 1, 0))
