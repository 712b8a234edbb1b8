import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import CertifyError
from models.proof.upward import (
    FLOAT32,
    FLOOR,
    check_arithmetic,
    norm_bound,
    norm_bounds,
    up,
    up_hypot,
    up_product,
    up_products,
    up_sum,
)

positive = st.floats(min_value=2.0**-60, max_value=2.0**60)


@given(st.lists(positive, min_size=1, max_size=20))
def test_a_sum_of_bounds_is_never_below_the_exact_sum(terms):
    assert Fraction(up_sum(terms)) >= sum(Fraction(term) for term in terms)


@given(st.lists(positive, min_size=1, max_size=6))
def test_a_product_of_bounds_is_never_below_the_exact_product(factors):
    exact = math.prod(Fraction(factor) for factor in factors)
    assert Fraction(up_product(*factors)) >= exact


@given(st.lists(positive, min_size=1, max_size=20))
def test_a_root_of_squares_is_never_below_the_exact_one(terms):
    assert Fraction(up_hypot(terms)) ** 2 >= sum(Fraction(term) ** 2 for term in terms)


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40))
def test_a_norm_is_never_below_the_exact_one(entries):
    values = np.array(entries, dtype=np.float32)
    assert Fraction(norm_bound(values)) ** 2 >= sum(Fraction(float(v)) ** 2 for v in values)


def test_norms_and_products_row_by_row_are_those_of_one():
    rows = np.random.default_rng(0).standard_normal((50, 30)).astype(np.float32)
    rows[7] = 0
    factors, tolerance = norm_bounds(rows), 8 * np.finfo(float).eps
    np.testing.assert_allclose(factors, [norm_bound(row) for row in rows], rtol=tolerance, atol=0)
    squares = [sum(Fraction(float(entry)) ** 2 for entry in row) for row in rows]
    assert all(Fraction(f) ** 2 >= s for f, s in zip(factors, squares, strict=True))
    assert (up_products(2.0**-1000, factors)[factors > 0] >= FLOOR).all()
    for factor in (0.0, 0.3, math.inf):
        expected = [up_product(factor, other) for other in factors.tolist()]
        np.testing.assert_allclose(up_products(factor, factors), expected, rtol=tolerance, atol=0)
    exact = [Fraction(0.3) * Fraction(other) for other in factors.tolist()]
    assert all(Fraction(p) >= e for p, e in zip(up_products(0.3, factors), exact, strict=True))


def test_a_plain_product_is_often_too_low_so_rounding_up_is_needed():
    pairs = np.random.default_rng(0).random((1000, 2))
    plain = [Fraction(a * b) >= Fraction(a) * Fraction(b) for a, b in pairs.tolist()]
    assert not all(plain)


def test_no_bound_falls_to_zero_by_underflow():
    assert up(0.0, 0) == FLOOR
    assert up_product(2.0**-1000, 2.0**-1000) >= FLOOR


def test_an_exact_zero_factor_gives_zero():
    assert up_product(0.0, math.inf) == 0.0


def test_gamma_covers_the_classic_formula_and_refuses_long_sums():
    assert Fraction(FLOAT32.gamma(100)) >= Fraction(100, 2**24) / (1 - Fraction(100, 2**24))
    with pytest.raises(CertifyError, match="too long"):
        FLOAT32.gamma(2**23 + 1)


@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_what_is_no_bound_is_refused(value):
    with pytest.raises(CertifyError, match="non-negative"):
        up(value, 1)


def test_this_machine_rounds_to_nearest():
    check_arithmetic()
