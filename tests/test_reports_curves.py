"""The drawings: what they show is what the rows say, and they belong to the page."""

import re

import numpy as np
import pytest
from report_cases import certificates_table, digits_results

from reports.curves import _survival, accuracy_curve, radius_histogram, training_history
from reports.rows import certified_at, read_certificates


@pytest.fixture(scope="module")
def drawings():
    results = digits_results()
    examples = read_certificates(results.certificates)
    return {
        "curve": accuracy_curve(examples, results.summary),
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
    assert "Under attack" in drawings["curve"]


def test_drawing_twice_gives_the_same_bytes(drawings):
    results = digits_results()
    examples = read_certificates(results.certificates)
    assert accuracy_curve(examples, results.summary) == drawings["curve"]


def test_degenerate_runs_can_be_drawn():
    results = digits_results()
    nothing = read_certificates(certificates_table([0, 1], [1, 0], [0.0, 0.0]))
    summary = results.summary | {"clean_accuracy": 0.0, "attacked_examples": 0}
    assert "<svg" in accuracy_curve(nothing, summary)
    assert "<svg" in radius_histogram(nothing, summary)
    one_epoch = [{"epoch": 1, "loss": 0.5}]
    assert "<svg" in training_history(one_epoch, summary["eps"])
