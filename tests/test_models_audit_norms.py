"""The audit's norms: never below the truth, nor so far off that a lie passes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from models.audit.norms import absolute_bound, distance_bounds, looseness, norm_bound
from models.audit.operators.windows import Windows
from models.audit.torus import (
    absolute_convolution,
    absolute_torus,
    convolution_bound,
    torus_bound,
)
from tests.strategies import FUZZING, draws


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (40, 40), (200, 64)])
def test_a_norm_bound_is_never_below_the_truth_and_close(shape):
    W = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    truth = np.linalg.norm(W.astype(np.float64), 2)
    assert truth <= norm_bound(W) <= truth * (1 + 1e-14 + looseness(min(shape)))


@pytest.mark.skipif(not FUZZING, reason="half a minute")
@pytest.mark.parametrize("orthogonal", [True, False])
def test_the_norm_of_2048_columns_is_within_its_allowance(orthogonal):
    W = np.random.default_rng(0).standard_normal((2048, 2048))
    W = (np.linalg.qr(W)[0] if orthogonal else W).astype(np.float32)
    truth = np.linalg.norm(W.astype(np.float64), 2)
    assert truth * (1 - 1e-12) <= norm_bound(W) <= truth * (1 + looseness(2048))


@pytest.mark.parametrize("side", [2, 64, 333])
def test_all_equal_entries_have_an_exact_norm(side):
    W = np.full((side, 3), np.float32(0.1))
    with mp.workprec(200):
        assert mp.mpf(norm_bound(W)) >= mp.mpf(float(np.float32(0.1))) * mp.sqrt(3 * side)


def test_zero_and_nan():
    assert norm_bound(np.zeros((2, 3))) == 0
    assert norm_bound(np.array([[np.nan]])) == np.inf


def test_distances_are_zero_exactly_for_equal_rows():
    rows = np.array([[1, 2], [1, 2], [1e-38, 2]], dtype=np.float32)
    found = distance_bounds(rows)
    assert found[0, 1] == 0 < found[0, 2]


def dense(kernel, windows, *, torus=None):
    """The convolution as a matrix, entry by entry."""
    groups, outputs, inputs = kernel.shape[:3]
    sides = torus or windows.sides
    counts = windows.counts
    if torus is not None:
        counts = tuple(side // stride for side, stride in zip(torus, windows.strides, strict=True))
    matrix = np.zeros((groups, outputs, *counts, groups, inputs, *sides))
    for group, window, tap in np.ndindex(groups, np.prod(counts), np.prod(windows.taps)):
        o, a = np.unravel_index(window, counts), np.unravel_index(tap, windows.taps)
        rows = zip(o, windows.strides, a, windows.dilations, windows.before, strict=True)
        at = [w * stride + t * dilation - before for w, stride, t, dilation, before in rows]
        if torus is not None:
            at = [place % side for place, side in zip(at, sides, strict=True)]
        if all(0 <= place < side for place, side in zip(at, sides, strict=True)):
            block = matrix[(group, slice(None), *o, group, slice(None), *at)]
            block += kernel[(group, slice(None), slice(None), *a)]
    return matrix.reshape(groups * outputs * int(np.prod(counts)), -1)


@st.composite
def convolutions(draw):
    """A kernel, and what windows along one axis or two are made of."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    axes = draw(st.integers(1, 2))
    column = st.tuples(
        st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2),
        st.integers(0, 3), st.integers(0, 3),
    )  # fmt: skip
    columns = [draw(column) for _ in range(axes)]
    sides, taps, strides, dilations, before, _ = zip(*columns, strict=True)
    counts = []
    for side, tap, stride, dilation, front, back in columns:
        free = side + front + back - (tap - 1) * dilation - 1
        counts.append(max(0, free // stride) + 1)
    groups, outputs, inputs = (draw(st.integers(1, 2)) for _ in range(3))
    kernel = rng.standard_normal((groups, outputs, inputs, *taps)).astype(np.float32)
    return kernel, (sides, tuple(counts), taps, strides, dilations, before)


@draws(test=40, fuzz=2000)
@given(convolutions())
def test_a_convolution_is_bounded_by_no_less_than_its_dense_matrix(case):
    kernel, windows = case[0], Windows(*case[1])
    matrix = dense(kernel, windows)
    truth = np.linalg.norm(matrix, 2)
    assert truth * (1 - 1e-14) <= convolution_bound(kernel, windows)
    assert np.linalg.norm(np.abs(matrix), 2) * (1 - 1e-14) <= absolute_convolution(kernel, windows)
    torus = tuple(stride * 3 for stride in windows.strides)
    around = dense(kernel, windows, torus=torus)
    exact = np.linalg.norm(around, 2)
    assert exact * (1 - 1e-14) <= torus_bound(kernel, windows, torus) <= exact * (1 + 1e-12)
    assert np.linalg.norm(np.abs(around), 2) * (1 - 1e-14) <= absolute_torus(kernel, windows)


def test_a_wide_image_leaves_little_room_above_the_exact_norm():
    kernel = np.random.default_rng(0).standard_normal((1, 3, 2, 3)).astype(np.float32)
    windows = Windows((40,), (40,), (3,), (1,), (1,), (1,))
    assert convolution_bound(kernel, windows) <= 1.01 * np.linalg.norm(dense(kernel, windows), 2)


def test_the_image_as_its_own_torus_is_too_small_for_zero_padding():
    kernel = np.ones((1, 1, 1, 2)) * np.array([1, -1])
    windows = Windows((3,), (4,), (2,), (1,), (1,), (1,))
    assert torus_bound(kernel, windows, (3,)) < np.linalg.norm(dense(kernel, windows), 2)


def test_row_and_column_sums_bound_the_matrix_of_magnitudes():
    W = np.random.default_rng(0).standard_normal((4, 6))
    assert np.linalg.norm(np.abs(W), 2) <= absolute_bound(W)
    assert absolute_bound(np.zeros((2, 2))) == 0
