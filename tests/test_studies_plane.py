"""Boundary, separable, tightness: their quick forms, and what their checks catch."""

import numpy as np
import pytest
import torch

from models.studies import boundary, koch, tightness
from tests.studies import conclude, quick_outcomes, unmet


@pytest.mark.parametrize("name", ["boundary", "separable", "tightness"])
def test_the_quick_form_bears_the_claim_out(name):
    finding = conclude(name, quick_outcomes(name))
    assert unmet(finding) == []
    assert finding.borne_out


def test_a_network_that_stretches_by_half_more_fits_no_boundary():
    side = (np.arange(60) + 0.5) / 60
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    true = koch.snowflakes().signed_distance(grid)
    assert boundary.compared(true, true)["right"] == 1
    spoiled = boundary.compared(1.5 * true, true)
    outcomes = quick_outcomes("boundary")
    outcomes[0] |= spoiled | {"bound": 1.5 * outcomes[0]["bound"]}
    names = unmet(conclude("boundary", outcomes))
    assert "proven bound of the network" in names
    assert "how many times smaller the network’s is" in names


def test_a_steeper_slope_than_the_bound_or_wrong_signs_are_caught():
    for key, value in (("steepest", 1.01), ("right", 0.8), ("constant", 800.0)):
        outcomes = quick_outcomes("boundary")
        outcomes[0][key] = value
        assert not conclude("boundary", outcomes).borne_out


def test_the_signed_distance_of_the_snowflakes_is_that_to_all_of_their_segments():
    curves = koch.snowflakes(2)
    points = np.random.default_rng(0).random((300, 2))
    every, _ = koch.nearest_on_segments(
        points, curves.starts, curves.ends, looked_at=len(curves.starts)
    )
    few, places = koch.nearest_on_segments(points, curves.starts, curves.ends, looked_at=2)
    assert few == pytest.approx(every, abs=1e-12)
    assert np.linalg.norm(points - places, axis=1) == pytest.approx(few, abs=1e-12)
    signed = curves.signed_distance(np.array([[0.5, 0.5], [0.5, 0.82], [0.02, 0.02]]))
    assert (np.sign(signed) == [-1, 1, -1]).all()


def test_a_signed_distance_has_slopes_up_to_1():
    curves = koch.snowflakes(3)
    one, other = np.random.default_rng(1).random((2, 500, 2))
    gaps = np.abs(curves.signed_distance(one) - curves.signed_distance(other))
    assert (gaps <= np.linalg.norm(one - other, axis=1) + 1e-12).all()


def test_margins_beyond_half_of_the_distance_or_errors_of_a_large_tau_are_caught():
    for key, value in (("margin", 0.7), ("accuracy", 0.99), ("bound", 1.5)):
        outcomes = quick_outcomes("separable")
        for place in (1, 3):
            outcomes[place][key] = value
        assert not conclude("separable", outcomes).borne_out


def test_a_wrong_distance_of_the_moons_is_caught():
    outcomes = quick_outcomes("separable")
    outcomes[0]["distance"] /= 1.5
    assert len(unmet(conclude("separable", outcomes))) == 2


def test_places_near_a_curve_count_more_and_more():
    distances = torch.tensor([0.0, -0.01, 0.1, 0.4])
    first, last = (boundary.weights(distances, share=share) for share in (0.0, 1.0))
    for counted in (first, last):
        assert float(counted.square().mean()) == pytest.approx(1)
        assert (counted.diff() < 0).all()
    assert float(first[0] / first[3]) == pytest.approx(2.6)
    assert float(last[0] / last[3]) == pytest.approx(1 + 0.4 * 400 / 3)
    assert torch.equal(boundary.weights(distances, share=0.8), last)


def test_a_signed_distance_that_is_scaled_misses_the_boundary_and_is_refuted():
    spoiled = tightness.neighbour_ratios(50, seed=0, factor=1.5)
    outcomes = quick_outcomes("tightness")
    outcomes[0] |= spoiled
    assert len(unmet(conclude("tightness", outcomes))) == 2
    halved = tightness.neighbour_ratios(50, seed=0, factor=0.5)
    outcomes[0] |= halved
    assert len(unmet(conclude("tightness", outcomes))) == 2


def test_a_change_inside_the_radius_is_caught():
    outcomes = quick_outcomes("tightness")
    outcomes[1]["ratios"][0] = 0.999
    assert unmet(conclude("tightness", outcomes)) == ["network on moons: least distance / radius"]
