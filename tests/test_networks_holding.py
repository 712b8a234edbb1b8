import copy
import math

import pytest
import torch
from torch import nn

from models.errors import CertifyError
from models.networks.convolutions.near_orthogonal import Kernels
from models.networks.holding import (
    Matrices,
    ReshapedKernels,
    held_weights,
    hold,
    next_interval,
    pull_back,
    pulled_back,
    refuse_infinite,
)
from models.networks.orthogonal import drift, newton_schulz_step, polar_factor, random_orthogonal
from models.networks.shipping import shipped


def noisy_orthogonal(rows, columns, *, noise, seed=0):
    generator = torch.Generator().manual_seed(seed)
    W = random_orthogonal(rows, columns, generator=generator)
    return W + noise * torch.randn(rows, columns, generator=generator)


def held_network():
    torch.manual_seed(0)
    network = nn.Sequential(
        hold(nn.Conv2d(2, 8, 2, stride=2), manifold=ReshapedKernels()),
        hold(nn.Conv2d(8, 6, 2, stride=2, groups=2), manifold=ReshapedKernels(groups=2)),
        hold(nn.Conv2d(6, 6, 3, padding=1), manifold=Kernels((2, 2))),
        nn.Flatten(),
        hold(nn.Linear(24, 10)),
        nn.Linear(10, 3),
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for held in held_weights(network):
            start = held.manifold.random(held.parameter, generator=generator)
            held.parameter.copy_(start + 0.03 * torch.randn(start.shape, generator=generator))
    return network


def test_any_layers_weight_is_held_and_pulled_back_with_all_others():
    network = held_network()
    held = list(held_weights(network))
    assert [tuple(weight.parameter.shape) for weight in held] == [
        (8, 2, 2, 2),
        (6, 4, 2, 2),
        (6, 6, 3, 3),
        (10, 24),
    ]
    before = [held[k].manifold.norm(held[k].parameter.detach().double()) - 1 for k in (0, 1, 3)]
    free = network[5].weight.detach().clone()
    drifts = [pull_back(network, place="") for _ in range(4)]
    assert drifts[0] > 1.5 * drifts[1]
    after = [held[k].manifold.norm(held[k].parameter.detach().double()) - 1 for k in (0, 1, 3)]
    assert max(after) < 1e-3 < min(before)
    assert torch.equal(network[5].weight, free)


def test_what_ships_has_norm_1_at_most_and_the_network_stays_as_it_was():
    network = held_network()
    kept = copy.deepcopy(network.state_dict())
    plain = shipped(network)
    assert all(torch.equal(kept[name], value) for name, value in network.state_dict().items())
    for held in held_weights(plain):
        assert held.manifold.norm(held.parameter.detach().double()) <= 1 + 1e-6
    assert torch.equal(plain[5].weight, network[5].weight)


def test_a_stack_is_held_matrix_by_matrix():
    stack = torch.stack([noisy_orthogonal(6, 4, noise=0.05, seed=seed) for seed in range(3)])
    pulled, before = Matrices().step(stack)
    singly = [newton_schulz_step(matrix) for matrix in stack]
    torch.testing.assert_close(pulled, torch.stack([matrix for matrix, _ in singly]))
    assert float(before) == pytest.approx(max(float(drifted) for _, drifted in singly))


def test_a_drift_to_norm_5_is_refused_by_place():
    network = held_network()
    network[4].weight.data *= 5
    with pytest.raises(CertifyError, match=r"epoch 3, step 1.*norm [45].*below √3"):
        pull_back(network, place="epoch 3, step 1")


@pytest.mark.parametrize("value", [1.75, 2.3])
def test_from_the_square_root_of_3_on_the_polar_factor_is_lost_and_that_is_refused(value):
    start = torch.diag(torch.tensor([1.0, 1.0, value]))
    W = start
    for _ in range(6):
        W, _ = newton_schulz_step(W)
    assert not (W - polar_factor(start)).abs().max() < 0.1
    with pytest.raises(CertifyError, match=r"epoch 3.*norm.*below √3.*learning_rate"):
        pulled_back(start, Matrices(), place="epoch 3, step 1")


@pytest.mark.parametrize("value", [0.001, 0.05, 1.7, 1.73])
def test_below_the_square_root_of_3_a_matrix_is_pulled_back_whatever_it_takes(value):
    start = torch.diag(torch.tensor([1.3, 1.4, 1.3, value]))
    pulled, before = pulled_back(start, Matrices(), place="")
    assert before == pytest.approx(float(drift(start)))
    assert drift(pulled) < 0.5
    torch.testing.assert_close(polar_factor(pulled), torch.eye(4).double())


def test_a_matrix_that_lost_rank_is_refused():
    with pytest.raises(CertifyError, match="lost rank"):
        pulled_back(torch.diag(torch.tensor([1.0, 0.0])), Matrices(), place="epoch 0, step 4")


@pytest.mark.parametrize(
    ("interval", "drift", "expected"),
    [(1, 0.1, 2), (4, 0.1, 4), (3, 0.6, 3), (4, 1.0, 2), (1, 5.0, 1), (9, 0.6, 4)],
)
def test_the_interval_follows_the_drift(interval, drift, expected):
    assert next_interval(interval, drift=drift, longest=4) == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(CertifyError, match=r"epoch 0, step 4: the loss is .*learning_rate"):
        refuse_infinite(bad, place="epoch 0, step 4")
    with pytest.raises(CertifyError, match=r"epoch 0, step 4: .*not finite.*learning_rate"):
        pulled_back(torch.tensor([[1.0, 0.0], [0.0, bad]]), Matrices(), place="epoch 0, step 4")


def test_small_drift_and_a_finite_loss_are_accepted():
    refuse_infinite(0.1, place="epoch 0, step 4")
    W = noisy_orthogonal(9, 6, noise=0.05)
    pulled, before = pulled_back(W, Matrices(), place="epoch 0, step 4")
    assert torch.equal(pulled, newton_schulz_step(W)[0])
    assert before == float(drift(W))
