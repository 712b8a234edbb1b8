"""Numbers in words: nothing in print is better than what was found."""

import sys
import tomllib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.words import (
    budget,
    budget_in_pixels,
    duration,
    exact_budget,
    joined,
    measured,
    number,
    percent,
    percent_range,
    rounded_down,
    rounded_up,
    toml,
)


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "0.0 %"),
        (1.0, "100.0 %"),
        (0.7333, "73.3 %"),
        (9999 / 10000, "> 99.9 %"),
        (1 / 10000, "< 0.1 %"),
        (None, "–"),
    ],
)
def test_all_and_none_are_said_of_all_and_none_alone(share, said):
    assert percent(share).replace("\N{NO-BREAK SPACE}", " ") == said


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted))
def test_a_range_says_no_percentage_twice_and_no_sign(ends):
    said = percent_range(*ends)
    parts = said.split(" to ")
    assert len(parts) == len({percent(end) for end in ends})
    assert not set("<>") & set(said)


@pytest.mark.parametrize(
    ("eps", "said"), [(0.5, "0.5"), (1.0, "1"), (36 / 255, "36/255"), (0.123456789, "0.1235")]
)
def test_a_budget_is_written_as_a_person_would(eps, said):
    assert budget(eps) == said


@given(st.floats(min_value=1e-9, max_value=1e3) | st.integers(1, 2000).map(lambda n: n / 255))
def test_an_exact_budget_is_read_again_as_the_same_number(eps):
    assert float(Fraction(exact_budget(eps))) == eps


@given(st.floats(min_value=1e-9, max_value=1e3), st.integers(1, 6))
def test_a_radius_in_print_is_never_more_than_what_was_proven(radius, decimals):
    shown = float(rounded_down(radius, decimals=decimals))
    assert 0 < shown <= radius * (1 + 1e-15)
    assert shown >= 0.9 * radius


def test_rounding_down_keeps_zero_and_says_infinity():
    assert rounded_down(0.0, decimals=2) == "0.00"
    assert rounded_down(float("inf"), decimals=2) == "∞"
    assert rounded_down(0.9999999, decimals=3) == "0.999"


def test_a_budget_in_pixels():
    said = budget_in_pixels(0.5, values=784, grey=True).replace("\N{NO-BREAK SPACE}", " ")
    assert said == "one pixel by 50.0 % of its range, or all 784 pixels by 1.8 % each"
    assert "one pixel from one end" in budget_in_pixels(1.0, values=784, grey=True)
    assert "4 colour values from one end" in budget_in_pixels(2.0, values=3072, grey=False)


def test_durations_lists_and_numbers():
    assert [duration(each) for each in (0.04, 9.94, 59.4, 71.3, 7265.0)] == [
        "<\N{NO-BREAK SPACE}0.1 s",
        "9.9 s",
        "59 s",
        "1 min 11 s",
        "2 h 1 min",
    ]
    assert [joined(each) for each in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert [number(each) for each in (None, float("nan"), float("inf"), 1.23456)] == [
        "–",
        "–",
        "∞",
        "1.235",
    ]


def test_a_job_as_toml_reads_back_without_its_empty_keys():
    job = {
        "name": 'quote " and \\ and ü',
        "seed": 0,
        "gates": ["violations == 0"],
        "data": {"source": "npz", "path": None, "odd key": True},
        "train": {"loss": {"name": "x", "margin": 1e-05, "nothing": None}, "widths": (1, 2)},
    }
    assert tomllib.loads(toml(job)) == {
        "name": 'quote " and \\ and ü',
        "seed": 0,
        "gates": ["violations == 0"],
        "data": {"source": "npz", "odd key": True},
        "train": {"loss": {"name": "x", "margin": 1e-05}, "widths": [1, 2]},
    }


@given(st.floats(min_value=1e-9, max_value=1e3), st.integers(1, 8))
def test_a_bound_in_print_is_never_less_than_what_was_proven(bound, decimals):
    shown = float(rounded_up(bound, decimals=decimals))
    assert bound * (1 - 1e-15) <= shown <= 1.11 * bound + 10.0**-decimals


@given(st.floats(min_value=1e12, allow_infinity=False), st.integers(0, 8))
def test_a_huge_number_is_short_and_still_on_its_side(value, decimals):
    above, below = rounded_up(value, decimals=decimals), rounded_down(value, decimals=decimals)
    assert Fraction(below) <= Fraction(value) <= Fraction(above)
    assert Fraction(above) - Fraction(below) <= Fraction(value) / 10**decimals
    assert max(len(above), len(below)) <= decimals + 7


def test_huge_numbers_are_powers_of_ten():
    above = [rounded_up(each, decimals=8) for each in (1e12, 2.0**60, 1e37, sys.float_info.max)]
    assert above == ["1e+12", "1.15292151e+18", "1e+37", "1.79769314e+308"]
    below = [rounded_down(each, decimals=3) for each in (2.0**60, 1e37)]
    assert below == ["1.152e+18", "9.999e+36"]


def test_a_bound_just_above_one_is_not_printed_as_one():
    assert rounded_up(1.0000000000000018, decimals=8) == "1.00000001"
    assert [rounded_up(each, decimals=2) for each in (1.0, 0.0, float("inf"), None)] == [
        "1",
        "0",
        "∞",
        "–",
    ]


def test_a_long_list_of_a_job_takes_a_line_an_entry_and_stages_keep_their_order():
    job = {"attack": {"examples": 5}, "gates": ["x" * 50, "y" * 50], "data": {}, "name": "n"}
    text = toml(job)
    assert tomllib.loads(text) == job
    assert [text.index(part) for part in ("name", "gates", "[data]", "[attack]")] == sorted(
        text.index(part) for part in ("name", "gates", "[data]", "[attack]")
    )
    assert max(map(len, text.splitlines())) < 80


def test_what_has_an_upper_limit_is_never_told_smaller():
    assert measured(1.000000015, expected="at most 1.00001") == "1.00000002"
    assert measured(1.0, expected="at most 1.00001") == "1"
    assert measured(0.2499462, expected="0.25 ± 0.001") == "0.249946"
    assert measured(None, expected="at most 1") == "–"
