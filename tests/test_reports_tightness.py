"""What is proven against what was found: figures by hand, and a page that says them."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import report_cases
from searched_cases import searched_results

from models.errors import CertifyError
from models.tables import PERTURBATIONS
from reports.changes import read_changes
from reports.page import render_page
from reports.rows import read_certificates


def test_the_figures_of_a_search_are_those_of_its_rows():
    results = searched_results()
    found = results.summary["search"]
    assert found["examples"] == found["found"] == 120
    assert found["median_tightness"] == pytest.approx(0.8)
    assert found["float32_breaks"] == found["undecided"] == 1
    assert found["passes"] == 845
    assert found["pair_bounds_seen"] == pytest.approx([0.9, 0.9])
    assert found["masking"] == ["zero_gradients"]
    certified = results.summary["certified_accuracy_attacked"]
    both = (found["robust_accuracy"], results.summary["robust_accuracy"])
    robust = zip(certified, *both, strict=True)
    assert all(low <= both <= attacked for low, both, attacked in robust)


def test_the_page_says_how_tight_the_radii_are_and_which_alarm_rings():
    page = render_page(searched_results()).replace("\N{NO-BREAK SPACE}", " ")
    assert "the median radius is 80.0 % of it" in page
    assert "the gradient is exactly 0 at 2 images" in page
    assert "they reach 90.0 % of its bound" in page
    assert "1 image leaves its class a little inside the radius" in page
    assert 'id="tightness"' in page
    assert 'id="tightness"' not in report_cases.page_of("passed")


def test_a_share_of_nearly_all_is_said_once_and_in_words():
    page = render_page(searched_results(1.0001, seen=0.99999)).replace("\N{NO-BREAK SPACE}", " ")
    assert "they reach more than 99.9 % of its bound" in page
    assert "the median radius is more than 99.9 % of it" in page


def test_the_page_names_the_artefact_of_each_figure_and_no_other():
    searched = ("perturbations.parquet", "stretches.parquet", "masking.json")
    page, without = render_page(searched_results()), report_cases.page_of("passed")
    for name in ("certificates.parquet", "attacks.parquet", "train/metrics.jsonl", *searched):
        assert f"<code>{name}</code>" in page
        assert (f"<code>{name}</code>" in without) == (name not in searched)
    assert "attacks.parquet" not in report_cases.page_of("incomplete")
    untrained = dataclasses.replace(report_cases.digits_results(), history=[])
    assert "train/metrics.jsonl" not in render_page(untrained)


def test_changes_shorter_than_a_radius_are_said_to_refute():
    page = render_page(searched_results(0.7, seen=1.2))
    assert "they refute the run" in page
    assert "by more than its bound allows" in page


def test_alarm_changes_of_other_radii_are_refused():
    results = searched_results()
    table = results.searched.perturbations
    radius = PERTURBATIONS.get_field_index("radius")
    other = pa.array(np.asarray(table["radius"]) * 2)
    table = table.set_column(radius, PERTURBATIONS.field(radius), other)
    with pytest.raises(CertifyError, match="other radii than were certified"):
        read_changes(table, read_certificates(results.certificates))
