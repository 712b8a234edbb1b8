"""The report of a sweep: who beats whom, and a page that says on which images."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.runs.outcome import print_sweep
from reports.front import judged
from reports.sweep import render_sweep


def trial(number, clean, certified, failed=None):
    found = {"trial": number, "run": f"s-{number:03d}", "values": {"train.epochs": number}}
    found["failed"] = failed
    if failed is None:
        found |= {
            "clean_accuracy": clean,
            "certified_accuracy": [certified, 0.0],
            "lipschitz_bound": 1.00001,
            "epochs": 3,
            "training_seconds": 1.5,
        }
    return found


def summary(trials):
    return {
        "run": "s",
        "name": "<sweep>",
        "method": "grid",
        "eps": [0.25, 0.5],
        "judging": 0,
        "part": "validation",
        "examples": 100,
        "trials": judged(trials, judging=0),
    }


shares = st.integers(0, 6).map(lambda n: n / 6)


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=9))
def test_a_trial_is_beaten_by_one_that_is_beaten_by_none_and_by_nothing_else(pairs):
    rows = judged([trial(n, *pair) for n, pair in enumerate(pairs, 1)], judging=0)
    for row, (clean, certified) in zip(rows, pairs, strict=True):
        better = [
            n
            for n, (c, v) in enumerate(pairs, 1)
            if c >= clean and v >= certified and (c > clean or v > certified)
        ]
        assert (row["dominated_by"] is None) == (not better)
        if better:
            assert row["dominated_by"] in better
            assert rows[row["dominated_by"] - 1]["dominated_by"] is None
    assert any(row["dominated_by"] is None for row in rows)


def test_the_page_shows_every_trial_where_it_stands():
    trials = [
        trial(1, 0.9, 0.5),
        trial(2, 0.8, 0.7),
        trial(3, 0.8, 0.4),
        trial(4, 0, 0, "lost <rank>"),
    ]
    page = render_sweep(summary(trials))
    assert page == render_sweep(summary(trials))
    assert "<sweep>" not in page
    assert "lost &lt;rank&gt;" in page
    text = re.sub(r"<[^>]+>|\s+", " ", page)
    assert "No test image was looked at" in text
    front, everything = page.split('<section id="trials">')
    assert everything.count("<td>trial 2</td>") == 1  # it beats the third, as the first does
    assert [int(n) for n in re.findall(r'<th scope="row">(\d+)</th>', everything)] == [2, 1, 3, 4]
    assert [int(n) for n in re.findall(r'<th scope="row">(\d+)</th>', front)] == [2, 1]
    assert 'id="front-wide-title"' in page


def test_page_drawing_and_terminal_count_the_front_in_the_same_words(capsys):
    for second, said in (
        (trial(2, 0.8, 0.4), "1 of 2 trials is beaten by none"),
        (trial(2, 0.8, 0.7), "2 of 2 trials are beaten by none"),
    ):
        found = summary([trial(1, 0.9, 0.5), second])
        print_sweep(found, report="report.html", as_json=False)
        assert said in capsys.readouterr().out
        page = render_sweep(found)
        assert said in re.sub(r"<[^>]+>", "", page[page.index("<h1>") :])
        assert f"{said}; most" in page


def test_trials_at_one_place_share_a_label():
    page = render_sweep(summary([trial(1, 0.5, 0.4), trial(2, 0.5, 0.4), trial(3, 0.6, 0.1)]))
    assert ">1, 2</text>" in page
    assert ">3</text>" in page


def test_a_sweep_of_which_all_failed_has_a_page_too():
    page = render_sweep(summary([trial(1, 0, 0, "diverged")]))
    assert "None: every trial failed." in page


@pytest.mark.parametrize("method", ["grid", "random", "optuna"])
def test_each_method_has_its_words(method):
    assert "Optuna, which" in render_sweep(summary([trial(1, 1.0, 1.0)]) | {"method": "optuna"})
    assert render_sweep(summary([trial(1, 1.0, 1.0)]) | {"method": method})
