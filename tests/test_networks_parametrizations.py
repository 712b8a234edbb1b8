import pytest
import torch
from deel.torchlip.normalizers import bjorck_normalization
from hypothesis import given
from hypothesis import strategies as st
from orthogonium.layers.conv.AOL.aol import AOLReparametrizer
from orthogonium.reparametrizers import BatchedCholeskyOrthogonalization, BatchedQROrthogonalization
from torch import nn

from models.networks.parametrizations.bounds import gram_bound
from models.networks.parametrizations.constraint import constrain
from models.networks.parametrizations.lipschitz import aol, cpl_scale, sll_scales
from models.networks.parametrizations.orthogonal import (
    bjorck,
    block_reflector,
    cayley,
    cholesky,
    exponential,
    projector,
    qr,
)
from models.networks.shipping import shipped

ORTHOGONAL = [bjorck, cayley, exponential, qr, cholesky]


def drawn(*shape, seed, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


sides = st.integers(1, 9)
seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("function", ORTHOGONAL)
@given(rows=sides, columns=sides, seed=seeds, scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_singular_values_are_1_where_the_start_has_full_rank(function, rows, columns, seed, scale):
    W = scale * drawn(rows, columns, seed=seed)
    values = torch.linalg.svdvals(W)
    found = torch.linalg.svdvals(function(W))
    assert found.max() <= 1 + 1e-9
    if function in (cayley, exponential) or values.min() > 0.05 * values.max():
        assert found.min() >= 1 - 1e-6


@pytest.mark.parametrize("function", [*ORTHOGONAL, block_reflector, projector])
def test_every_parameter_has_a_gradient_and_stacks_go_matrix_by_matrix(function):
    W = drawn(3, 7, 4, seed=0).requires_grad_()
    stacked = function(W)
    for place in range(3):
        torch.testing.assert_close(stacked[place], function(W[place]), atol=1e-9, rtol=0)
    weights = drawn(*stacked.shape, seed=1)
    (gradient,) = torch.autograd.grad((stacked * weights).sum(), W)
    alive = gradient.abs() > 0
    assert alive[:, 4:].all()
    assert alive.any(dim=-1).all()


@given(side=st.integers(1, 9), rank=st.integers(1, 9), seed=seeds)
def test_a_block_reflector_is_symmetric_and_its_own_inverse(side, rank, seed):
    Q = block_reflector(drawn(side, min(side, rank), seed=seed))
    torch.testing.assert_close(Q, Q.T)
    torch.testing.assert_close(Q @ Q, torch.eye(side).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("function", [bjorck, cholesky, qr])
@pytest.mark.parametrize("shape", [(5, 5), (6, 3)])
def test_a_matrix_without_rank_gives_no_nan_and_stretches_nothing(function, shape):
    W = torch.zeros(shape) if function is not qr else torch.eye(*shape)
    assert torch.linalg.svdvals(function(W)).max() <= 1 + 1e-6


def test_float32_is_orthogonal_to_some_units_in_the_last_place():
    for function in ORTHOGONAL:
        values = torch.linalg.svdvals(function(drawn(64, 48, seed=0, dtype=torch.float32)).double())
        assert (values - 1).abs().max() < 1e-5, function.__name__


@given(rows=sides, columns=sides, seed=seeds)
def test_the_gram_bound_is_above_the_norm_and_near_it(rows, columns, seed):
    W = drawn(rows, columns, seed=seed)
    norm = torch.linalg.matrix_norm(W, ord=2)
    assert norm * (1 - 1e-12) <= gram_bound(W) <= norm * min(rows, columns) ** (1 / 64) * (1 + 1e-9)
    complex_W = torch.complex(W, drawn(rows, columns, seed=seed + 1))
    assert torch.linalg.matrix_norm(complex_W, ord=2) * (1 - 1e-12) <= gram_bound(complex_W)


def test_bjorck_is_torchlips():
    W = drawn(9, 6, seed=0)
    scaled = W / gram_bound(W)
    theirs = bjorck_normalization(scaled, eps=0.0, maxiter=20)
    torch.testing.assert_close(bjorck(W, steps=20), theirs, atol=1e-9, rtol=0)


@pytest.mark.parametrize("shape", [(6, 6), (5, 8)])
def test_cholesky_and_qr_span_what_orthogoniums_do(shape):
    W = drawn(1, *shape, seed=3)
    theirs = BatchedCholeskyOrthogonalization(W.shape, stable=False)(W)[0]
    ours = cholesky(W[0])
    torch.testing.assert_close(ours.T @ ours, theirs.T @ theirs, atol=3e-5, rtol=0)
    square = W[:, :5, :5]
    q = BatchedQROrthogonalization(square.shape)(square)[0]
    torch.testing.assert_close(qr(square[0]).abs(), q.abs(), atol=1e-9, rtol=0)


@pytest.mark.parametrize(("out", "inputs", "side"), [(8, 5, 3), (6, 6, 1), (4, 9, 3)])
def test_aol_is_orthogoniums_for_equal_weights_of_the_channels(out, inputs, side):
    kernel = drawn(out, inputs, side, side, seed=0)
    theirs = AOLReparametrizer(inputs, groups=1)
    if out >= inputs:
        flipped = kernel.transpose(0, 1).flip(2, 3)  # it scales outputs; the adjoint's are inputs
        expected = theirs.double()(flipped).flip(2, 3).transpose(0, 1)
    else:
        expected = AOLReparametrizer(out, groups=1).double()(kernel)
    torch.testing.assert_close(aol(kernel), expected)


def torus_norm(kernel, side, *, groups=1):
    by_group = kernel.reshape(groups, -1, *kernel.shape[1:])
    response = torch.fft.fft2(by_group, s=(side, side)).permute(0, 3, 4, 1, 2)
    return torch.linalg.matrix_norm(response, ord=2).amax()


@pytest.mark.parametrize("groups", [1, 2])
@given(out=st.integers(1, 4), inputs=st.integers(1, 4), side=st.sampled_from([1, 2, 3]), seed=seeds)
def test_aol_is_1_lipschitz_on_every_torus(groups, out, inputs, side, seed):
    kernel = aol(drawn(groups * out, inputs, side, side, seed=seed), groups=groups)
    for torus in (side, 5, 12):
        assert torus_norm(kernel, torus, groups=groups) <= 1 + 1e-9


@given(hidden=st.integers(1, 6), channels=st.integers(1, 4), seed=seeds)
def test_residual_scales_keep_their_inequality(hidden, channels, seed):
    """Kᵀ diag(s) K ≤ 2 at every frequency is what makes x - Kᵀ diag(s) relu(K x) 1-Lipschitz."""
    kernel = drawn(hidden, channels, 3, 3, seed=seed)
    sll = sll_scales(kernel, 0.3 * drawn(hidden, seed=seed + 1))
    cpl = cpl_scale(kernel, grid=(8, 8)).expand(hidden)
    for scales in (sll, cpl):
        scaled = kernel * scales.sqrt()[:, None, None, None]
        assert torus_norm(scaled, 8) <= 2**0.5 * (1 + 1e-9)


def test_a_constrained_layer_ships_with_the_weight_that_its_function_gives():
    torch.manual_seed(0)
    layer = constrain(nn.Linear(7, 5), cayley)
    plain = shipped(layer)
    assert type(plain) is nn.Linear
    torch.testing.assert_close(plain.weight, layer.weight)
    assert isinstance(layer.parametrizations.weight, nn.ModuleList)
    defect = plain.weight.double() @ plain.weight.double().T - torch.eye(5).double()
    assert defect.abs().max() < 3e-7
