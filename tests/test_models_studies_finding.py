"""Expectations and findings: what is met, what is not, and what is never met."""

import json
import math

import pytest

from models.errors import InvalidInputError
from models.studies.finding import (
    Finding,
    at_least,
    at_most,
    between,
    equal,
    near,
    series,
)
from models.studies.registry import STUDIES, study_of


@pytest.mark.parametrize(
    ("met", "unmet"),
    [
        (at_least("x", 2.0, 2), at_least("x", 1.999, 2)),
        (at_most("x", 2.0, 2), at_most("x", 2.001, 2)),
        (between("x", 1.5, 1, 2), between("x", 2.5, 1, 2)),
        (near("x", 1.1, 1, within=0.11), near("x", 1.2, 1, within=0.11)),
        (equal("x", 3, 3), equal("x", 4, 3)),
    ],
)
def test_an_expectation_is_met_or_not(met, unmet):
    assert met.holds
    assert not unmet.holds


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_finite_number_meets_nothing(odd):
    for expectation in (
        at_least("x", odd, 0),
        at_most("x", odd, 0),
        between("x", odd, -1, 1),
        near("x", odd, 0, within=1),
    ):
        assert not expectation.holds
        assert expectation.found is None


def test_a_finding_is_borne_out_by_all_of_its_expectations_and_by_no_none():
    met, unmet = at_least("x", 1, 0), at_least("x", 0, 1)
    assert Finding((met,), {}, (), "").borne_out
    assert not Finding((met, unmet), {}, (), "").borne_out
    assert not Finding((), {}, (), "").borne_out


def test_a_finding_can_be_stored():
    drawn = series("a", [1, 2], [1 / 3, 2 / 3], spread=[0.1, 0.1])
    stored = json.loads(json.dumps(Finding((equal("x", 1, 1),), {"n": 1}, (), "").to_json()))
    assert stored["borne_out"] is True
    assert stored["expectations"] == [
        {"name": "x", "expected": "exactly 1", "found": 1.0, "holds": True}
    ]
    assert drawn.y == (0.3333333, 0.6666667)


def test_every_study_has_a_file_that_says_how_to_read_it():
    for study in STUDIES:
        assert study.code.READING
        for quick in (True, False):
            assert study.code.runs(quick=quick)


def test_an_unknown_study_is_refused_by_name():
    with pytest.raises(InvalidInputError, match=r"'koch' is not known; accepted are .*, all, list"):
        study_of("koch")
