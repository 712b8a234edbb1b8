"""Muon along the orthogonal matrices: its directions, its steps, and what it leaves to Adam."""

import pytest
import torch
from torch import nn

from models.networks.convolutions.near_orthogonal import Kernels
from models.networks.holding import Held, Matrices, ReshapedKernels, held_weights, hold
from models.networks.muon import MOMENTUM, Muon
from models.networks.orthogonal import drift, polar_factor
from models.networks.steepest import orthogonalised, steepest_turn, tangent

SHAPES = [(8, 8), (12, 5), (5, 12), (1, 7), (7, 1), (1, 1), (3, 6, 4)]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(*shape, seed=1):
    return polar_factor(normal(*shape, seed=seed))


def with_singular_values(values):
    values = torch.tensor(values, dtype=torch.float64)
    n = len(values)
    left, right = orthogonal(n + 3, n), orthogonal(n, n, seed=2)
    return left, right, left @ values.diag() @ right


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_what_is_above_a_fortieth_of_the_largest_singular_value_comes_near_1(scale):
    left, right, M = with_singular_values([1.0, 0.7, 0.4, 0.2, 0.1, 0.06, 0.04])
    found = left.mT @ orthogonalised(scale * M) @ right.mT
    values = found.diagonal()
    torch.testing.assert_close(found, values.diag(), atol=1e-9, rtol=0)
    assert values.min() > 0.6
    assert values.max() < 1.25


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalising_does_not_depend_on_the_scale_nor_on_which_side_is_longer(shape):
    M = normal(*shape)
    found = orthogonalised(M)
    torch.testing.assert_close(orthogonalised(1e-3 * M), found)
    torch.testing.assert_close(orthogonalised(M.mT).mT, found)
    assert torch.linalg.matrix_norm(found, ord=2).amax() < 1.25


def test_each_matrix_of_a_stack_is_orthogonalised_by_itself():
    stack = torch.stack((normal(6, 4), 100 * normal(6, 4, seed=1), torch.zeros(6, 4)))
    found = orthogonalised(stack)
    torch.testing.assert_close(found[0], orthogonalised(stack[0]))
    torch.testing.assert_close(found[1], orthogonalised(stack[1]))
    assert torch.equal(found[2], torch.zeros(6, 4))


@pytest.mark.parametrize("flush", [False, True])
def test_a_slope_of_any_length_in_float32_is_orthogonalised_and_none_is_no_step(flush):
    M = normal(6, 4).float()
    asked = orthogonalised(M)
    torch.set_flush_denormal(flush)  # as GPUs and some servers do
    try:
        for scale in (1e-15, 1e-9, 1e9, 1e18):
            torch.testing.assert_close(orthogonalised(scale * M), asked, atol=1e-5, rtol=0)
        assert torch.equal(orthogonalised(0 * M), torch.zeros(6, 4))
        assert torch.linalg.matrix_norm(orthogonalised(1e-30 * M), ord=2) < 1.25
        for lost in (1e25, float("inf"), float("nan")):
            assert not orthogonalised(lost * M).isfinite().any()
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tangent_keeps_a_matrix_orthogonal_to_first_order_and_is_its_own_tangent(shape):
    W = orthogonal(*shape)
    found = tangent(W, normal(*shape))
    tall = W.shape[-2] >= W.shape[-1]
    inner = W.mT @ found if tall else found @ W.mT
    torch.testing.assert_close(inner + inner.mT, torch.zeros_like(inner), atol=1e-12, rtol=0)
    torch.testing.assert_close(tangent(W, found), found)
    outside = normal(*shape) - found
    assert (outside * found).sum().abs() < 1e-10  # the nearest tangent, so the rest is normal


@pytest.mark.parametrize(
    "layer",
    [
        lambda: hold(nn.Linear(24, 24)),
        lambda: hold(nn.Linear(40, 12)),
        lambda: hold(nn.Conv2d(8, 12, 1), manifold=ReshapedKernels()),
        lambda: hold(nn.Conv2d(8, 16, 2, stride=2, groups=2), manifold=ReshapedKernels(groups=2)),
    ],
)
def test_a_step_leaves_the_manifold_by_a_part_of_its_length_a_square_matrix_by_its_square(layer):
    network = layer()
    (held,) = held_weights(network)
    generator = torch.Generator().manual_seed(0)
    start = held.manifold.random(held.parameter, generator=generator)
    for rate in (0.1, 0.01):
        with torch.no_grad():
            held.parameter.copy_(start)
        optimizer = Muon([{"params": [held.parameter], "held": [held]}], lr=rate)
        held.parameter.grad = torch.randn(held.parameter.shape, generator=generator)
        optimizer.step()
        matrices = held.manifold._matrices(held.parameter.detach().double())
        most = rate if matrices.shape[-2] == matrices.shape[-1] else 0.5
        assert torch.linalg.matrix_norm(matrices, ord=2).amax() < 1 + most * rate
        moved = torch.linalg.matrix_norm(matrices - held.manifold._matrices(start), ord=2)
        assert moved.amax() > 0.6 * rate


def test_steps_are_those_of_nesterovs_momentum_along_the_manifold():
    held = Held(nn.Parameter(orthogonal(6, 4).float()), Matrices())
    optimizer = Muon([{"params": [held.parameter], "held": [held]}], lr=0.1)
    W, mean = held.parameter.detach().clone(), torch.zeros(6, 4)
    for seed in range(3):
        slope = normal(6, 4, seed=seed).float()
        held.parameter.grad = slope.clone()
        optimizer.step()
        mean = MOMENTUM * mean + (1 - MOMENTUM) * slope
        W = W - 0.1 * steepest_turn(W, MOMENTUM * mean + (1 - MOMENTUM) * slope)
        torch.testing.assert_close(held.parameter.detach(), W)
        assert held.parameter.grad is None


@pytest.mark.parametrize("manifold", [Matrices(), ReshapedKernels(), Kernels((8, 8))])
def test_steps_in_bfloat16_go_nearly_as_far_the_same_way(manifold):
    shape = (24, 16) if manifold == Matrices() else (24, 16, 3, 3)
    generator = torch.Generator().manual_seed(0)
    start = manifold.random(torch.empty(shape), generator=generator)
    moved = []
    for bfloat16 in (False, True):
        held = Held(nn.Parameter(start.clone()), manifold)
        group = {"params": [held.parameter], "held": [held], "bfloat16": bfloat16}
        optimizer = Muon([group], lr=0.1)
        held.parameter.grad = normal(*shape, seed=3).float()
        optimizer.step()
        moved.append(held.parameter.detach() - start)
        assert optimizer.state[held.parameter]["exp_avg"].dtype is torch.float32
    assert not torch.equal(*moved)
    assert (moved[1] - moved[0]).norm() < 0.06 * moved[0].norm()


def test_all_other_weights_go_as_adam_takes_them():
    layers = [nn.Linear(5, 3) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    held = Held(nn.Parameter(torch.eye(4)), Matrices())
    groups = [{"params": [held.parameter], "held": [held]}, {"params": layers[0].parameters()}]
    optimizers = Muon(groups, lr=0.01), torch.optim.Adam(layers[1].parameters(), lr=0.01)
    for _ in range(3):
        for layer, optimizer in zip(layers, optimizers, strict=True):
            layer.zero_grad()
            layer(torch.ones(2, 5)).square().sum().backward()
            optimizer.step()
    for ours, theirs in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(held.parameter, torch.eye(4))  # no gradient, no step


def test_a_step_of_a_convolution_is_no_longer_than_its_taps_allow():
    manifold, slope = Kernels((8, 8)), normal(6, 4, 3, 3)
    kernel = manifold.steepest(torch.empty(6, 4, 3, 3), slope)
    assert torch.equal(kernel.flatten(1), orthogonalised(slope.flatten(1)))
    assert 1 < manifold.norm(kernel) < 3 * 1.25


def test_a_rotation_is_found_from_examples_that_show_some_directions_five_times_less():
    start, spin = orthogonal(8, 8).float(), 0.3 * normal(8, 8).float()
    wanted = torch.linalg.matrix_exp(spin - spin.T) @ start
    lengths = torch.logspace(0, -0.7, 8).diag()
    X = orthogonal(8, 8, seed=3).float() @ lengths @ normal(8, 256, seed=1).float()
    held = Held(nn.Parameter(start.clone()), Matrices())
    optimizer = Muon([{"params": [held.parameter], "held": [held]}], lr=0.1)
    for step in range(120):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 120)
        (held.parameter @ X - wanted @ X).square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            held.parameter.copy_(held.manifold.step(held.parameter)[0])
    assert drift(held.parameter) < 1e-3
    assert (start - wanted).norm() > 2
    assert (held.parameter.detach() - wanted).norm() < 0.1
