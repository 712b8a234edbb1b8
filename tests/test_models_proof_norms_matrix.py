import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from models.errors import CertifyError
from models.proof.norms import matrix as norms
from models.proof.norms.distances import pair_distance_bounds
from models.proof.norms.matrix import absolute_norm_bound, matrix_norm_bound
from tests.oracles import orthogonal

sizes = st.integers(1, 12)


def exact_norm(matrix):
    """Largest singular value in 200-bit arithmetic."""
    with mp.workprec(200):
        gram = mp.matrix(matrix.astype(float).tolist())
        gram = gram.T * gram
        return mp.sqrt(max(mp.eigsy(gram, eigvals_only=True)))


@given(rows=sizes, columns=sizes, seed=st.integers(0, 2**32 - 1), scale=st.integers(-60, 60))
def test_the_bound_is_never_below_the_norm_and_tight(rows, columns, seed, scale):
    noise = np.random.default_rng(seed).standard_normal((rows, columns))
    matrix = np.ldexp(noise, scale).astype(np.float32)
    bound, exact = matrix_norm_bound(matrix), exact_norm(matrix)
    assert bound >= exact
    assert bound <= exact * (1 + 1e-10)


@given(rows=sizes, columns=sizes, seed=st.integers(0, 2**32 - 1))
def test_the_norm_of_absolute_values_is_never_below(rows, columns, seed):
    matrix = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    assert absolute_norm_bound(matrix) >= exact_norm(np.abs(matrix))


@pytest.mark.parametrize(
    "matrix",
    [np.ones((40, 3)), np.eye(5), np.ones((1, 1)) * 1e-45, np.outer(np.arange(7), np.arange(9))],
    ids=["all equal", "identity", "smallest subnormal", "rank one"],
)
def test_degenerate_matrices(matrix):
    matrix = matrix.astype(np.float32)
    assert exact_norm(matrix) <= matrix_norm_bound(matrix) <= exact_norm(matrix) * (1 + 1e-9)


def test_an_orthogonal_layer_costs_next_to_nothing():
    assert matrix_norm_bound(orthogonal(256, 256, seed=3)) <= 1 + 1e-5


def test_only_a_zero_matrix_has_norm_zero():
    assert matrix_norm_bound(np.zeros((3, 4), dtype=np.float32)) == 0.0
    assert matrix_norm_bound(np.full((3, 4), 1e-45, dtype=np.float32)) > 0


def test_a_bad_rotation_is_loose_or_refused_and_never_wrong():
    matrix = np.random.default_rng(1).standard_normal((6, 6))
    tilted = np.eye(6) + 0.02 * np.random.default_rng(2).standard_normal((6, 6))
    assert norms._rotated_bounds(matrix[None], tilted[None])[0] >= exact_norm(matrix)
    with pytest.raises(CertifyError, match="from orthogonal"):
        norms._rotated_bounds(matrix[None], 2 * np.eye(6)[None])


def test_a_bound_below_the_decomposition_rings(monkeypatch):
    monkeypatch.setattr(norms, "_rotated_bounds", lambda W, V: 0.7 * np.linalg.norm(W, 2, (1, 2)))
    with pytest.raises(CertifyError, match="disagree"):
        matrix_norm_bound(np.ones((3, 2), dtype=np.float32))


def test_power_iteration_would_have_been_too_low():
    """Why the bound is not one: ten steps on a nearly orthogonal matrix stay below the norm."""
    matrix = orthogonal(64, 64, seed=0) + 0.05 * np.random.default_rng(1).standard_normal((64, 64))
    vector = np.random.default_rng(2).standard_normal(64)
    for _ in range(10):
        vector = matrix.T @ (matrix @ vector)
        vector /= np.linalg.norm(vector)
    estimate = np.linalg.norm(matrix @ vector)
    assert estimate < np.linalg.norm(matrix, 2) * 0.999
    assert matrix_norm_bound(matrix) >= np.linalg.norm(matrix, 2) * (1 - 1e-14)


def test_two_rows_are_at_distance_zero_only_where_they_are_equal():
    rows = np.array([[1, 2], [1, 2], [1, np.nextafter(np.float32(2), np.float32(3))]], "f4")
    distances = pair_distance_bounds(rows)
    assert distances[0, 1] == 0
    assert distances[0, 2] >= 2.0**-22


@pytest.mark.parametrize("entry", [np.nan, np.inf])
def test_entries_that_are_no_numbers_are_refused(entry):
    with pytest.raises(CertifyError, match="NaN or infinite"):
        matrix_norm_bound(np.array([[1, entry]], dtype=np.float32))
