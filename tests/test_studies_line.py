"""Temperature and transport: optima on a line, networks beside them, and what the checks catch."""

import numpy as np
import pytest
import torch

from models.studies import line, transport
from models.studies.clouds import paired_distance
from tests.studies import conclude, quick_outcomes, unmet


@pytest.mark.parametrize("name", ["temperature", "transport"])
def test_the_quick_form_bears_the_claim_out(name):
    finding = conclude(name, quick_outcomes(name))
    assert unmet(finding) == []
    assert finding.borne_out


@pytest.mark.parametrize("tau", [0.1, 1.0, 4.0])
def test_no_1_lipschitz_function_lies_below_the_optimum(tau):
    best = line.least_cross_entropy(tau)
    assert best.least <= best.value == pytest.approx(line.cross_entropy(best.f, tau=tau))
    assert np.abs(np.diff(best.f)).max() <= line.REACH / line.STEPS + 1e-12
    rng = np.random.default_rng(0)
    for _ in range(20):
        slopes = rng.choice((-1, 1), size=20).repeat(2 * line.STEPS // 20)
        f = np.concatenate(([0], np.cumsum(slopes))) * line.REACH / line.STEPS
        other = 0.9 * best.f + 0.1 * (f - f.mean())
        assert line.cross_entropy(other, tau=tau) >= best.least


def test_steeper_functions_reach_lower():
    steep, flat = (line.least_cross_entropy(2.0, lipschitz=each) for each in (1.5, 1.0))
    assert steep.value < flat.least


def test_a_network_that_is_half_as_steep_again_is_caught_below_the_optimum():
    outcomes = quick_outcomes("temperature")
    first = outcomes[0]
    steep = line.cross_entropy(
        np.interp(line.places(), line.places()[::10], first["network"]) * 1.5, tau=1.0
    )
    outcomes[0] = first | {"network_loss": steep, "bound": 1.5 * first["bound"]}
    assert unmet(conclude("temperature", outcomes)) == [
        "τ = 1: proven bound of the network",
        "τ = 1: network less the optimum’s lower bound",
    ]


def test_another_optimum_or_a_poor_network_is_caught():
    for key in ("least", "disguised", "network_loss"):
        outcomes = quick_outcomes("temperature")
        outcomes[1][key] *= 1.2
        assert not conclude("temperature", outcomes).borne_out
    outcomes = quick_outcomes("temperature")
    outcomes[2]["accuracy"] = 0.9
    assert not conclude("temperature", outcomes).borne_out


def test_a_wrong_distance_is_caught():
    for place in (1, 2, 3):
        outcomes = quick_outcomes("transport")
        outcomes[place]["distance"] *= 0.9
        names = unmet(conclude("transport", outcomes))
        assert any(name.endswith("W₁") for name in names)
        assert any("largest mean margin at any step" in name for name in names)


def test_a_critic_that_stretches_by_half_more_exceeds_the_distance():
    outcomes = quick_outcomes("transport")
    outcomes[2]["margins"] = [1.5 * margin for margin in outcomes[2]["margins"]]
    assert unmet(conclude("transport", outcomes)) == ["line: largest mean margin at any step / W₁"]


def test_the_distance_of_two_clouds_is_that_of_the_cheapest_pairing():
    zero = np.array([[0.0, 0], [1, 0]])
    assert paired_distance(zero, zero + np.array([0, 3])) == pytest.approx(3)
    assert paired_distance(zero, np.array([[1.0, 5], [0, 3]])) == pytest.approx(4)


def test_other_weights_than_the_sigmoids_have_another_gradient():
    assert transport.gradient_difference(tau=2.0, seed=1) < 1e-12
    assert transport.gradient_difference(tau=2.0, seed=1, weights=torch.ones_like) > 1e-3


def test_the_limits_of_hkr_are_transport_and_the_hinge():
    exact = quick_outcomes("transport")[0]
    for key in ("hkr_at_0", "hkr_at_large", "steep", "gradient"):
        outcomes = quick_outcomes("transport")
        outcomes[0][key] = exact[key] * 1.5 + 0.01
        assert not conclude("transport", outcomes).borne_out
