"""Consistency and the front of losses: their quick forms, and what their checks catch."""

import pytest

from models.errors import DataError
from models.studies import front
from models.studies.registry import study_of
from tests.studies import conclude, quick_outcomes, unmet


@pytest.mark.parametrize("name", ["consistency", "front"])
def test_the_quick_form_bears_the_claim_out(name):
    finding = conclude(name, quick_outcomes(name))
    assert unmet(finding) == []
    assert finding.borne_out


@pytest.mark.parametrize("name", ["consistency", "front"])
def test_without_images_nothing_is_run(name):
    code = study_of(name).code
    with pytest.raises(DataError):
        code.run(code.runs(quick=True)[0], seed=0, data=None)


def test_gaps_that_do_not_close_are_caught():
    outcomes = quick_outcomes("consistency")
    for each in outcomes[:-1]:
        if each["fraction"] == 1.0 and each["tau"] == 8.0:
            each["test"] = each["train"] + 5
    assert any(name.startswith("τ = 8: gap") for name in unmet(conclude("consistency", outcomes)))


def test_labels_that_are_not_fitted_or_a_bound_above_1_are_caught():
    for key, value in (("accuracy", 0.98), ("bound", 1.5)):
        outcomes = quick_outcomes("consistency")
        outcomes[-1][key] = value
        assert len(unmet(conclude("consistency", outcomes))) == 1


def test_a_twin_that_does_not_overfit_is_caught():
    outcomes = quick_outcomes("consistency")
    for each in outcomes:
        if each["kind"] == "free":
            each["train"] = each["test"]
    assert "free twin: least test loss / training loss" in unmet(conclude("consistency", outcomes))


def test_a_sweep_in_the_wrong_order_is_caught():
    outcomes = quick_outcomes("front")
    turned = {0.5: 16.0, 16.0: 0.5}
    for each in outcomes:
        if each["dial"] == "τ":
            each["value"] = turned.get(each["value"], each["value"])
    assert unmet(conclude("front", outcomes)) == [
        "cross-entropy, τ: clean accuracy gained on the way to its best",
        "cross-entropy, τ: certified accuracy at 1 lost from its best to the end",
    ]


def test_a_dial_that_only_costs_clean_accuracy_is_caught():
    outcomes = quick_outcomes("front")
    for each in outcomes:
        if each["dial"] == "m":
            each["clean"] = 0.5 + each["value"] / 10  # best at the most robust margin
    name = "hinge, margin m: clean accuracy gained on the way to its best"
    assert name in unmet(conclude("front", outcomes))


def test_the_schedule_rises_and_stays_at_its_last_tau():
    setting = {"dial": "schedule", "value": 0.0, "epochs": 8}
    taus = [1 / loss.temperature for loss in front.losses(setting)]
    assert taus == sorted(taus)
    assert taus[0] == pytest.approx(0.5)
    assert taus[2:] == pytest.approx([16.0] * 6)
