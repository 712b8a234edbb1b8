"""The drawings: what they show is what the rows say, and they belong to the page."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_cases import certificates_table, digits_results

from reports.curves import _survival, accuracy_curve, free_levels, radius_histogram
from reports.history import spread, training_history
from reports.page import render_page
from reports.rows import attacked_everywhere, certified_at, read_certificates


def attacked_rows(results):
    eps = results.summary["eps"]
    return attacked_everywhere(results.attacks, eps, examples=len(results.certificates))


@pytest.fixture(scope="module")
def drawings():
    results = digits_results()
    examples = read_certificates(results.certificates)
    return {
        "curve": accuracy_curve(examples, results.summary, attacked=attacked_rows(results)),
        "radii": radius_histogram(examples, results.summary),
        "history": training_history(results.history, results.summary["eps"]),
    }


@pytest.mark.parametrize("n", [1, 7, 360, 5000])
def test_every_corner_of_the_curve_is_the_certified_accuracy_there(n):
    noise = np.random.default_rng(n)
    label = noise.integers(0, 3, n)
    prediction = np.where(noise.random(n) < 0.8, label, 0)
    examples = read_certificates(certificates_table(label, prediction, noise.random(n).round(3)))
    radius = np.where(examples.correct, examples.radius, 0.0)
    x, y = _survival(radius, reach=0.9)
    assert x[0] == 0
    assert x[-1] == 0.9
    assert (np.diff(y) <= 0).all()
    for corner, share in zip(x, y, strict=True):
        assert share == certified_at(examples, corner).mean()


def test_the_curve_of_the_attacked_images_meets_their_points():
    results = digits_results()
    examples, rows = read_certificates(results.certificates), attacked_rows(results)
    x, y = _survival(np.where(examples.correct, examples.radius, 0.0)[rows], reach=9.0)
    at_eps = [y[np.searchsorted(x, each, side="right") - 1] for each in results.summary["eps"]]
    assert at_eps == results.summary["certified_accuracy_attacked"]
    robust = results.summary["robust_accuracy"]
    assert all(proven <= held for proven, held in zip(at_eps, robust, strict=True))


def test_a_sample_has_a_curve_of_its_own_and_all_images_have_not():
    dotted = "stroke-dasharray: 1.4"
    for attacked in (120, 360):
        results = digits_results(attacked=attacked)
        rows = attacked_rows(results)
        assert len(rows) == attacked
        drawing = accuracy_curve(
            read_certificates(results.certificates), results.summary, attacked=rows
        )
        assert (dotted in drawing) == (attacked < 360)
        page = render_page(results)
        assert ("with the dotted curve" in page) == ('class="key dots"' in page) == (attacked < 360)


def test_a_point_that_is_proven_is_seen_around_one_that_held(drawings):
    paths = re.findall(r'<defs>\s*<path id="[^"]*" d="([^"]*)"', drawings["curve"])
    width = {path: np.ptp([float(x) for x in re.findall(r"-?[\d.]+", path)[::2]]) for path in paths}
    markers = [path for path in paths if width[path] < 20 and "z" in path]
    circle = max(width[path] for path in markers if "C" in path)
    diamond = max(width[path] for path in markers if "C" not in path)
    assert circle > 1.3 * diamond


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.01, 0.15))
def test_names_of_lines_never_touch_and_stand_in_the_order_of_their_lines(heights, apart):
    found = spread(heights, apart=apart)
    assert max(found) <= 1
    order = sorted(range(len(heights)), key=lambda place: (heights[place], -place))
    stairs = np.diff([found[place] for place in order])
    assert (stairs >= apart - 1e-12).all()
    if min(np.diff(sorted(heights)), default=1) >= apart:
        assert found == heights


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8).map(sorted), st.floats(0.01, 0.3))
def test_names_on_one_level_are_apart_and_none_stands_higher_than_it_must(places, apart):
    found = free_levels(places, apart=apart)
    for now, (place, level) in enumerate(zip(places, found, strict=True)):
        before = list(zip(places[:now], found[:now], strict=True))
        touched = {at for other, at in before if place - other < apart}
        assert level == min(set(range(9)) - touched)


def test_drawings_use_the_colours_of_the_page_and_their_own_ids(drawings):
    ids = []
    for name, svg in drawings.items():
        assert svg.count("<svg") == svg.count("</svg>") == 2
        assert not re.search(r"#0\d0\d0\d", svg)
        assert "var(--proven)" in svg
        assert "var(--muted)" in svg
        assert "<style" not in svg
        assert "<metadata" not in svg
        found = re.findall(r' id="([^"]+)"', svg)
        assert all(each.startswith(f"{name}-") for each in found)
        used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
        assert used <= set(found)
        ids += found
    assert len(ids) == len(set(ids))


def test_drawings_are_said_in_words(drawings):
    for svg in drawings.values():
        assert svg.count("<title id=") == svg.count("<desc id=") == 2
        assert 'role="img"' in svg
    assert "Starts at 94.2" in drawings["curve"]
    assert "stay right under attack" in drawings["curve"]


def test_drawing_twice_gives_the_same_bytes(drawings):
    results = digits_results()
    examples = read_certificates(results.certificates)
    again = accuracy_curve(examples, results.summary, attacked=attacked_rows(results))
    assert again == drawings["curve"]


def test_degenerate_runs_can_be_drawn():
    results = digits_results()
    nothing = read_certificates(certificates_table([0, 1], [1, 0], [0.0, 0.0]))
    summary = results.summary | {"clean_accuracy": 0.0, "attacked_examples": 0}
    nobody = np.array([], dtype=np.int64)
    assert "<svg" in accuracy_curve(nothing, summary, attacked=nobody)
    assert "<svg" in radius_histogram(nothing, summary)
    one_epoch = [{"epoch": 1, "loss": 0.5}]
    assert "<svg" in training_history(one_epoch, summary["eps"])
