"""The leash: it holds where Newton-Schulz steps alone lose a matrix, and says where it cannot."""

import pytest
import torch
from torch import nn

from models.errors import CertifyError
from models.networks.holding import Matrices, ReshapedKernels, held_weights, hold
from models.networks.leash import LARGE, WHOLE_EVERY, Leash
from models.networks.orthogonal import drift, newton_schulz_step, polar_factor


def held(*layers):
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(*layers)
    with torch.no_grad():
        for weight in held_weights(network):
            start = weight.manifold.random(weight.parameter, generator=generator)
            weight.parameter.copy_(start)
    return network


def leashed(network, *, interval=1, longest=8, short=True):
    generator = torch.Generator().manual_seed(1)
    return Leash(network, interval=interval, longest=longest, generator=generator, short=short)


def pushed(layer, factor, *, seed=0):
    """Stretch one random direction of a layer."""
    weight = layer.weight.data.flatten(1)
    v = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(seed))
    v = v / v.norm()
    weight.addr_(weight @ v, v, alpha=factor - 1)


def test_a_direction_beyond_the_reach_of_newton_and_schulz_comes_back():
    network = held(hold(nn.Linear(LARGE, LARGE + 20)))
    pushed(network[0], 2.5)
    W = network[0].weight.detach().clone()
    lost = W
    for _ in range(6):
        lost, _ = newton_schulz_step(lost)
    assert not (lost - polar_factor(W)).abs().max() < 0.1
    rein = leashed(network)
    for _ in range(4):
        rein.pull(place="")
    torch.testing.assert_close(network[0].weight.double(), polar_factor(W), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: hold(nn.Linear(LARGE, LARGE)),
        lambda: hold(nn.Linear(2 * LARGE, LARGE)),
        lambda: hold(nn.Conv2d(LARGE, 2 * LARGE, 1), manifold=ReshapedKernels()),
        lambda: hold(nn.Conv2d(8, 16, 2, stride=2, groups=2), manifold=ReshapedKernels(groups=2)),
        lambda: hold(nn.Linear(20, 30)),
    ],
)
def test_any_held_weight_stays_near_while_it_is_pushed(layer):
    network = held(layer())
    rein = leashed(network)
    for turn in range(3 * WHOLE_EVERY):
        pushed(network[0], 1.2, seed=turn)
        rein.pull(place="", last=turn == 3 * WHOLE_EVERY - 1)
    (weight,) = held_weights(network)
    exact = weight.parameter.detach().double()
    assert abs(weight.manifold.norm(exact) - 1) < 0.05
    assert rein.drift > 0


def test_pulls_come_more_often_where_one_direction_goes_far_and_less_often_again():
    network = held(hold(nn.Linear(LARGE, LARGE)))
    rein = leashed(network, interval=8)
    for seed in range(2):
        pushed(network[0], 4.0, seed=seed)
        rein.pull(place="")
    few = rein.interval
    assert few < 8
    for _ in range(9):
        rein.pull(place="")
    assert rein.interval == 8


def test_only_whole_pulls_take_a_step(monkeypatch):
    network = held(hold(nn.Linear(LARGE, LARGE)))
    steps, step = [], Matrices.step
    monkeypatch.setattr(Matrices, "step", lambda self, w: steps.append(1) or step(self, w))
    rein = leashed(network)
    for _ in range(2 * WHOLE_EVERY):
        rein.pull(place="")
    assert len(steps) == 2
    rein.pull(place="", last=True)
    assert len(steps) == 3


def test_where_no_pull_is_short_each_brings_all_directions_back():
    for short in (True, False):
        network = held(hold(nn.Linear(LARGE, LARGE)))
        network[0].weight.data *= 1.05
        rein = leashed(network, short=short)
        rein.pull(place="")
        left = torch.linalg.svdvals(network[0].weight.detach().double()) - 1
        assert (left.abs() < 0.01).all() == (not short)
        assert (rein.drift > 1) == (not short)  # of √128 times 1.05² - 1


@pytest.mark.parametrize(
    ("factor", "words"), [(30.0, "drifted to norm .*below 10"), (float("nan"), "not finite")]
)
def test_a_matrix_that_is_lost_is_named_with_its_place(factor, words):
    network = held(hold(nn.Linear(LARGE, LARGE)))
    rein = leashed(network)
    pushed(network[0], factor)
    with pytest.raises(CertifyError, match=rf"epoch 2, step 7: .*{words}.*train.learning_rate"):
        rein.pull(place="epoch 2, step 7")


def test_what_a_leash_leaves_is_a_whole_steps_work_from_orthogonal():
    network = held(hold(nn.Linear(LARGE, LARGE)))
    noise = torch.randn(LARGE, LARGE, generator=torch.Generator().manual_seed(2))
    network[0].weight.data += 0.01 * noise
    before = drift(network[0].weight.detach())
    leashed(network).pull(place="", last=True)
    assert drift(network[0].weight.detach()) < 0.3 * before
