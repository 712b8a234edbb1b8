"""FAB's projection: the authors' steps, bit for bit where their sort is a stable one."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyautoattack import fab_projections

from models.attacks.projection import ascending, nearest_steps


@pytest.fixture(autouse=True, scope="module")
def _stable_sort():
    """Equal bends come in the order of the pixels in the authors' function too."""
    names = {name: getattr(torch, name) for name in ("max", "cumsum", "cat", "zeros", "full_like",
                                                     "floor", "where")}  # fmt: skip
    stable = SimpleNamespace(sort=functools.partial(torch.sort, stable=True), **names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fab_projections, "torch", stable)
        yield


@st.composite
def planes(draw):
    """Points of the cube, many of them on its faces, and planes near, far and out of reach."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, pixels = draw(st.integers(1, 6)), draw(st.sampled_from([1, 2, 3, 25, 100]))
    points = np.clip(draw(st.sampled_from([1, 2, 9])) * (rng.random((count, pixels)) - 0.5), 0, 1)
    normals = rng.standard_normal((count, pixels)) * 10.0 ** draw(st.integers(-9, 1))
    normals[rng.random((count, pixels)) < draw(st.sampled_from([0, 0.5]))] = 0
    reach = draw(st.sampled_from([0.01, 0.3, 3, 10])) * np.linalg.norm(normals, axis=1)
    offsets = (normals * points).sum(axis=1) + reach * rng.standard_normal(count)
    return [torch.tensor(array, dtype=torch.float32) for array in (points, normals, offsets)]


@given(planes())
def test_steps_are_the_authors(case):
    expected = fab_projections.projection_l2(*case)
    found = nearest_steps(*case)
    assert torch.equal(expected.nan_to_num(nan=7.0), found.nan_to_num(nan=7.0))


@given(planes())
def test_arguments_stay_as_they_are(case):
    before = [tensor.clone() for tensor in case]
    nearest_steps(*case)
    assert all(torch.equal(*pair) for pair in zip(before, case, strict=True))


@given(st.lists(st.sampled_from([-1e12, -1.5, -0.0, 0.0, 1e-30, 0.5, 1e12]), min_size=1))
def test_equal_values_keep_their_order(values):
    row = torch.tensor([values, values[::-1]])
    assert torch.equal(ascending(row), torch.sort(row, dim=1, stable=True).indices)


def test_a_plane_within_the_cube_is_reached_and_the_cube_is_not_left():
    points = torch.rand(20, 100, generator=torch.Generator().manual_seed(0))
    normals = torch.randn(20, 100, generator=torch.Generator().manual_seed(1))
    offsets = (normals * points).sum(1) + 0.5
    moved = points + nearest_steps(points, normals, offsets)
    torch.testing.assert_close((normals * moved).sum(1), offsets, atol=1e-4, rtol=0)
    assert float(moved.min()) > -1e-6
    assert float(moved.max()) < 1 + 1e-6
