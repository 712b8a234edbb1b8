import math

import pytest
import torch

from models.errors import CertifyError
from models.networks.orthogonal import (
    drift,
    newton_schulz_step,
    polar_factor,
    random_orthogonal,
    straightening,
)

SHAPES = [(8, 8), (12, 5), (5, 12), (1, 7), (7, 1), (1, 1)]


def noisy_orthogonal(rows, columns, *, noise, seed=0):
    generator = torch.Generator().manual_seed(seed)
    W = random_orthogonal(rows, columns, generator=generator)
    return W + noise * torch.randn(rows, columns, generator=generator)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_newton_schulz_steps_end_at_the_polar_factor(rows, columns):
    start = noisy_orthogonal(rows, columns, noise=0.05).double()
    W = start
    for _ in range(12):
        W, _ = newton_schulz_step(W)
    assert drift(W) < 1e-12
    torch.testing.assert_close(W, polar_factor(start), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_a_step_maps_every_singular_value_as_its_formula_says(rows, columns):
    W = noisy_orthogonal(rows, columns, noise=0.1).double()
    stepped, _ = newton_schulz_step(W)
    before = torch.linalg.svdvals(W)
    expected = (1.5 * before - 0.5 * before**3).sort(descending=True).values
    torch.testing.assert_close(torch.linalg.svdvals(stepped), expected)


def test_the_step_leaves_its_argument_alone_and_reports_the_drift_before_it():
    W = noisy_orthogonal(9, 6, noise=0.05)
    kept = W.clone()
    _, before = newton_schulz_step(W)
    assert torch.equal(W, kept)
    torch.testing.assert_close(before, drift(W))


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_drift_bounds_every_singular_value(rows, columns):
    W = noisy_orthogonal(rows, columns, noise=0.2).double()
    assert (torch.linalg.svdvals(W) ** 2 - 1).abs().max() <= drift(W) * (1 + 1e-12)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_the_polar_factor_agrees_with_its_other_definition(rows, columns):
    W = noisy_orthogonal(rows, columns, noise=0.3).double()
    short = W if rows >= columns else W.T
    values, vectors = torch.linalg.eigh(short.T @ short)
    expected = short @ (vectors / values.sqrt()) @ vectors.T  # W (WᵀW)^-½
    found = polar_factor(W) if rows >= columns else polar_factor(W).T
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


def test_the_polar_factor_of_a_matrix_without_rank_is_still_orthogonal():
    assert drift(polar_factor(torch.zeros(6, 4))) < 1e-12


def test_no_orthogonal_matrix_is_nearer_than_the_polar_factor():
    W = noisy_orthogonal(6, 6, noise=0.3).double()
    generator = torch.Generator().manual_seed(1)
    nearest = (W - polar_factor(W)).norm()
    for _ in range(50):
        other = random_orthogonal(6, 6, generator=generator).double()
        assert (W - other).norm() > nearest


def test_random_matrices_repeat_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    first = random_orthogonal(5, 3, generator=torch.Generator().manual_seed(7))
    second = random_orthogonal(5, 3, generator=torch.Generator().manual_seed(7))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_entries_that_are_not_finite_have_no_polar_factor():
    with pytest.raises(CertifyError, match="not finite"):
        polar_factor(torch.tensor([[math.nan, 0.0], [0.0, 1.0]]))


def steep(rows, columns, *, values, seed=0):
    """An orthogonal matrix that stretches some random directions by given factors."""
    generator = torch.Generator().manual_seed(seed)
    W = random_orthogonal(rows, columns, generator=generator)
    count = len(values)
    if rows >= columns:
        V = random_orthogonal(columns, count, generator=generator)
        return W + (W @ V) * (torch.tensor(values) - 1) @ V.T
    V = random_orthogonal(rows, count, generator=generator)
    return W + V * (torch.tensor(values) - 1) @ (V.T @ W)


def repeated(W, *, times, few=4):
    directions = random_orthogonal(min(W.shape), few, generator=torch.Generator().manual_seed(1))
    seen = []
    for _ in range(times):
        left, right, directions, steepest = straightening(W, directions)
        W = W + left @ right.T
        seen.append(steepest)
    return W, seen


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (20, 20)])
@pytest.mark.parametrize("values", [(1.3,), (40.0, 2.5), (0.2, 3.0, 1.7), (2.0, 2.0, 2.0, 2.0)])
def test_the_steepest_directions_are_set_right_whatever_they_stretch_by(shape, values):
    start = steep(*shape, values=values)
    W, seen = repeated(start, times=3)
    assert drift(W) < 1e-3 < drift(start)
    assert max(seen) <= max(max(values) ** 2 - 1, 0) * (1 + 1e-4) + 1e-4
    torch.testing.assert_close(W.double(), polar_factor(start), atol=1e-3, rtol=0)


def test_more_steep_directions_than_are_followed_are_set_right_in_turn():
    start = steep(40, 40, values=[1.5 + 0.3 * k for k in range(8)])
    W, seen = repeated(start, times=12)
    assert drift(W) < 0.05 * drift(start)
    assert seen[-1] < 0.1 < seen[0]


def test_an_orthogonal_matrix_is_left_as_it_is():
    start = random_orthogonal(20, 30, generator=torch.Generator().manual_seed(0))
    W, seen = repeated(start, times=2)
    torch.testing.assert_close(W, start, atol=1e-5, rtol=0)
    assert max(map(abs, seen)) < 1e-5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_a_matrix_that_is_not_finite_is_not_straightened(bad):
    W = torch.eye(8)
    W[3, 2] = bad
    with pytest.raises(CertifyError, match="not finite, or too large"):
        repeated(W, times=1)
