"""Stacks of complex matrices and frequency responses, each against 200-bit arithmetic."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpc, mpf

from models.errors import CertifyError
from models.proof.norms import matrix as norms
from models.proof.norms import torus
from models.proof.norms.matrix import stack_norm_bound
from models.proof.norms.torus import Axis, absolute_kernel_bound, torus_norm_bound


def exact_norm(matrix):
    """Largest singular value of a complex matrix, in 200-bit arithmetic."""
    with mp.workprec(200):
        rows = [[mpc(float(v.real), float(v.imag)) for v in row] for row in matrix]
        stored = mp.matrix(rows)
        return mp.sqrt(max(mp.eighe(stored.H * stored, eigvals_only=True)))


def noise(seed, *shape):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


seeds = st.integers(0, 2**32 - 1)


@given(count=st.integers(1, 40), m=st.integers(1, 5), n=st.integers(1, 5), seed=seeds)
def test_the_largest_norm_of_a_stack_is_never_missed_and_tight(count, m, n, seed):
    stack = noise(seed, count, m, n) * np.random.default_rng(seed).random((count, 1, 1))
    largest = np.argmax(np.linalg.norm(stack, 2, axis=(1, 2)))
    exact = exact_norm(stack[largest])
    assert exact <= stack_norm_bound(stack) <= exact * (1 + 2 * norms.CLOSE)


@given(m=st.integers(1, 5), n=st.integers(1, 5), seed=seeds, scale=st.integers(-90, 90))
def test_every_bound_of_a_stack_holds_by_itself(m, n, seed, scale):
    W = noise(seed, 3, max(m, n), n) * 2.0**scale
    G = norms._adjoint(W) @ W
    for bounds in (
        norms._row_sum_bounds(W, G),
        norms._squaring_bounds(W, G),
        norms._decomposed_bounds(W, G),
    ):
        for matrix, bound in zip(W, bounds, strict=True):
            assert bound >= exact_norm(matrix)


def test_squaring_without_its_inflation_is_too_low(monkeypatch):
    """On a matrix of rank one nothing else is loose, so what rounding took is missing."""
    cases = [np.outer(noise(at, 3), noise(at + 1, 3))[None] for at in range(0, 60, 2)]

    def too_low():
        pairs = ((norms._squaring_bounds(W, norms._adjoint(W) @ W)[0], W[0]) for W in cases)
        return sum(bound < exact_norm(matrix) for bound, matrix in pairs)

    assert too_low() == 0
    monkeypatch.setattr(norms, "up_array", lambda values, roundings: values)
    monkeypatch.setattr(norms, "_product_cost", lambda inner, stack: 0.0)
    assert too_low() > 0


def test_near_orthogonal_stacks_are_not_decomposed(monkeypatch):
    """Row sums settle them; anything else is decomposed, and only where it may be the largest."""
    q = np.stack([np.linalg.qr(noise(at, 8, 8))[0].astype(np.complex64) for at in range(30)])
    decomposed = []
    honest = norms._decomposed_bounds
    monkeypatch.setattr(
        norms, "_decomposed_bounds", lambda W, G: decomposed.append(len(W)) or honest(W, G)
    )
    assert stack_norm_bound(q) <= 1 + 1e-5
    assert not decomposed
    spread = noise(0, 30, 8, 8) * np.linspace(0.1, 1, 30)[:, None, None]
    assert stack_norm_bound(spread) >= max(map(exact_norm, spread[-3:]))
    assert sum(decomposed) <= norms.AT_ONCE


def test_a_stack_keeps_what_it_need_not_go_below_and_refuses_nan():
    assert stack_norm_bound(np.zeros((2, 3, 3)), at_least=2.0) == 2.0
    assert stack_norm_bound(np.ones((2, 1, 1)), at_least=2.0) == 2.0
    assert stack_norm_bound(np.full((2, 1, 1), 3.0), at_least=2.0) >= 3.0
    with pytest.raises(CertifyError, match="NaN or infinite"):
        stack_norm_bound(np.array([[[complex(0, np.nan)]]]))


@given(
    cells=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    place=st.integers(0, 200),
    seed=seeds,
)
def test_cosines_and_sines_are_within_their_bound(cells, place, seed):
    rng = np.random.default_rng(seed)
    frequency, tap = rng.integers(0, cells), rng.integers(0, place + 1, len(cells))
    cosine, sine = torus._turns(frequency[None], tap[None], np.array(cells))
    with mp.workprec(200):
        turn = sum(
            mpf(int(w)) * int(a) / side for w, a, side in zip(frequency, tap, cells, strict=True)
        )
        exact = mp.expjpi(2 * turn)
        assert abs(mpc(float(cosine[0, 0]), float(sine[0, 0])) - exact) <= mpf(2) ** -48


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_every_frequency_or_its_conjugate_is_looked_at(cells):
    cells = np.array(cells)
    half = {tuple(f) for part in torus._half_of_the_frequencies(cells, 7) for f in part.tolist()}
    for frequency in np.ndindex(*cells.tolist()):
        opposite = tuple((-np.array(frequency) % cells).tolist())
        assert frequency in half or opposite in half


def circular_matrix(kernel, side, stride, dilation):
    """A circular convolution of one axis, as a matrix."""
    outputs, channels, taps = kernel.shape
    matrix = np.zeros((outputs, -(-side // stride), channels, side))
    for window in range(matrix.shape[1]):
        for tap in range(taps):
            pixel = (window * stride + tap * dilation) % side
            matrix[:, window, :, pixel] += kernel[:, :, tap]
    return matrix.reshape(outputs * matrix.shape[1], -1)


@given(
    side=st.integers(1, 8),
    taps=st.integers(1, 10),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    seed=seeds,
)
def test_a_circular_convolution_is_exact_on_its_torus(side, taps, stride, dilation, seed):
    """Kernels larger than the torus are folded, strides are polyphase."""
    side *= stride
    kernel = np.random.default_rng(seed).standard_normal((2, 3, taps)).astype(np.float32)
    axis = Axis(side, side, taps, stride, dilation)
    exact = np.linalg.norm(circular_matrix(kernel, side, stride, dilation), 2)
    bound = torus_norm_bound(kernel[None], (axis,), (side,))
    assert exact * (1 - 1e-13) <= bound <= exact * (1 + 2 * norms.CLOSE)
    absolute = np.linalg.norm(circular_matrix(np.abs(kernel), side, stride, dilation), 2)
    assert absolute_kernel_bound(kernel[None], (axis,)) >= absolute * (1 - 1e-13)


def test_alarm_a_stride_that_does_not_divide_the_side_has_no_torus_of_its_own():
    """Polyphase on ⌈n/s⌉ cells claims too little; the torus with stride 1 does not."""
    worst = 0.0
    for seed in range(200):
        kernel = np.random.default_rng(seed).standard_normal((1, 1, 3)).astype(np.float32)
        exact = np.linalg.norm(circular_matrix(kernel, 3, 2, 1), 2)
        claim = torus_norm_bound(kernel[None], (Axis(3, 2, 3, 2),), (4,))
        assert torus_norm_bound(kernel[None], (Axis(3, 3, 3),), (3,)) >= exact * (1 - 1e-13)
        worst = max(worst, exact / claim)
    assert worst > 1.05


def test_a_torus_with_too_many_frequencies_is_not_looked_at():
    far = Axis(4, 4, 3, dilation=2**22, begin=2**22)
    assert far.torus > torus.MOST_FREQUENCIES
    kernel = np.ones((1, 1, 1, 3), dtype=np.float32)
    assert math.isinf(torus_norm_bound(kernel, (far,), (far.torus,)))
    assert torus.convolution_norm_bound(kernel, (far,)) == pytest.approx(math.sqrt(3), rel=1e-6)
