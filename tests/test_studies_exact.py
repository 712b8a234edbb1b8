"""The studies that are exact, or nearly: their quick forms, and what their checks catch."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from models.studies import capacity, divergence, weak_critic
from tests.studies import conclude, digits, quick_outcomes, unmet


@pytest.mark.parametrize("name", ["weak-critic", "capacity", "divergence"])
def test_the_quick_form_bears_the_claim_out(name):
    finding = conclude(name, quick_outcomes(name))
    assert unmet(finding) == []
    assert finding.borne_out


def test_the_largest_margin_is_the_distance_of_the_classes_and_no_slope_is_above_1():
    places, masses = weak_critic.interleaved(7, extra=0.1)
    best = weak_critic.largest_margin(places, masses)
    assert np.abs(np.diff(best)).max() <= 1 + 1e-9
    distance = wasserstein_distance(places, places, masses[1], masses[0])
    assert weak_critic.mean_margin(best, masses) == pytest.approx(distance)


def test_a_function_that_separates_the_clusters_is_no_weak_critic():
    _, masses = weak_critic.interleaved(10, extra=0.05)
    zigzag = np.where(np.arange(20) % 2 == 0, -0.5, 0.5)
    assert weak_critic.threshold_error(zigzag, masses) == 0
    outcomes = quick_outcomes("weak-critic")
    outcomes[0]["errors"]["best"] = weak_critic.threshold_error(zigzag, masses)
    outcomes[0]["margins"]["best"] = weak_critic.mean_margin(zigzag, masses)
    assert len(unmet(conclude("weak-critic", outcomes))) == 2


def test_a_critic_that_stretches_by_half_more_is_caught():
    outcomes = quick_outcomes("weak-critic")
    outcomes[0]["network_bound"] *= 1.5
    assert unmet(conclude("weak-critic", outcomes)) == [
        "N = 10, δ = 0.05: proven bound of the network"
    ]


@pytest.mark.parametrize(("margin", "count"), [(1 / 4, 3), (1 / 10, 6), (1 / 20, 11)])
def test_points_that_fit_are_shattered_and_nearer_ones_are_not(margin, count):
    margin = Fraction(margin).limit_denominator(100)
    points = capacity.spread_points(margin)
    signs = np.array([[1, -1] * count])[:, :count]
    assert len(points) == count
    assert capacity.had(points, signs, margin).all()
    nearer = [point * Fraction(999, 1000) for point in points]
    assert not capacity.had(nearer, signs, margin).any()
    assert capacity.had(nearer, np.ones((1, count), dtype=int), margin).all()


def test_one_point_too_many_or_a_missed_labelling_is_caught():
    for key, value in (("points", 4), ("missed", 1), ("impossible", 0)):
        outcomes = quick_outcomes("capacity")
        outcomes[0]["line"][0][key] = value
        assert not conclude("capacity", outcomes).borne_out


def test_the_printed_lower_bound_is_above_what_fits_and_ours_is_not():
    assert capacity.packing_cap(0.01) == 2987
    assert capacity.bound(0.01, inputs=2, factor=1.0) == pytest.approx(3183.0989, abs=1e-4)
    for margin in np.geomspace(0.003, 0.25, 30):
        low, high = (capacity.bound(margin, inputs=2, factor=each) for each in (0.5, 1.5))
        assert low <= capacity.hexagonal_points(margin) <= capacity.packing_cap(margin) <= high


def test_a_network_that_rests_without_a_constraint_is_caught():
    _, free, held = outcomes = quick_outcomes("divergence")
    outcomes[1] = {**free, "norms": held["norms"]}
    assert any("growth" in name for name in unmet(conclude("divergence", outcomes)))


def test_a_twin_whose_norm_or_loss_moves_on_is_caught():
    _, free, held = outcomes = quick_outcomes("divergence")
    outcomes[2] = {**held, "norms": [1.5 * norm for norm in held["norms"]]}
    assert not conclude("divergence", outcomes).borne_out
    outcomes[2] = {**held, "losses": free["losses"]}
    assert not conclude("divergence", outcomes).borne_out


def test_another_rate_than_1_does_not_give_the_known_norms(monkeypatch):
    monkeypatch.setattr(divergence, "STEPS", 50)
    found = divergence.affine()
    assert found["free_norms"][-1] == pytest.approx(3.81, abs=0.005)
    monkeypatch.setattr(divergence, "STEPS", 20)
    assert divergence.affine()["free_norms"][-1] < 3.5


def test_the_same_seed_gives_the_same_numbers():
    first, second = (divergence.network(digits(), held=True, epochs=1, seed=3) for _ in range(2))
    assert first == second
    assert first != divergence.network(digits(), held=True, epochs=1, seed=4)
