"""The page: whole, alone, honest, and the same twice."""

import dataclasses
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import report_cases

from models.errors import CertifyError
from reports.page import render_page
from reports.rows import read_certificates
from reports.story import did_an_attack_get_through

VOID = {"meta", "link", "img", "br", "hr", "input", "path", "circle", "use"}


class Page(HTMLParser):
    """Tags, attributes and text, with tags that are never closed noticed."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.open = [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open, f"</{tag}> closes nothing"
            assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
            self.open.pop()

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).replace("\N{NO-BREAK SPACE}", " ").split())


@pytest.fixture(scope="module", params=report_cases.CASES)
def source(request):
    return report_cases.page_of(request.param)


@pytest.fixture(scope="module")
def digits():
    return report_cases.digits_results()


def test_it_loads_nothing_and_runs_nothing(source):
    for tag, attributes in Page(source).tags:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                assert value.startswith(("data:", "#")), (tag, name, value[:60])
    assert "@import" not in source
    assert re.findall(r"url\((?!#)", source) == []


def test_it_is_well_formed_and_can_be_followed(source):
    page = Page(source)
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        if tag == "a":
            assert attributes["href"][1:] in ids
        if tag == "img":
            assert len(attributes["alt"]) > 10
        for reference in attributes.get("aria-labelledby", "").split():
            assert reference in ids
    assert sum(tag == "h1" for tag, _ in page.tags) == 1
    assert source.startswith("<!doctype html>")


def test_no_image_of_the_same_run_is_described_twice_the_same():
    described = [a["alt"] for tag, a in Page(report_cases.page_of("passed")).tags if tag == "img"]
    assert len(described) == len(set(described))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("passed", "Passed. No attack got inside a certified radius, so every certificate stands"),
        ("gate_failed", "1 of 4 gates of the job fails: certified_accuracy@1.0 >= 0.6."),
        ("refuted", "no radius of this run may be relied on"),
        ("incomplete", "The run stopped before its end."),
        ("colour", "No float32 radius: Softmax 'probabilities'"),
        ("colour", "It assumes that Tanh in float64 is accurate"),
    ],
)
def test_the_verdict_is_said_in_words(case, said):
    assert said in Page(report_cases.page_of(case)).words


def test_the_first_screen_says_what_against_what_and_how_much():
    words = Page(report_cases.page_of("passed")).words
    for said in (
        "73.3 % of 360 test images are proven to stay correctly classified",
        "grey images of 8 × 8 pixels, 10 classes",
        "ε = 0.5 can move one pixel by 50.0 % of its range, or all 64 pixels by 6.2 % each",
        "Four attacks (apgd-ce, apgd-t, fab-t, square) tried to change the answer on 120 images",
        "no certificate was broken",
    ):
        assert said in words


def test_every_percentage_is_one_that_the_rows_give(digits):
    """A percentage in the text of the results is a count over a count of rows."""
    source = report_cases.page_of("passed")
    start, end = source.index('<section id="accuracy">'), source.index('<section id="proof">')
    found = Page(source[start:end]).words
    shares = {float(each) for each in re.findall(r"(\d+\.\d) %", found)}
    totals = {360, 120, *(digits.certificates["label"].value_counts().field("counts").to_pylist())}
    possible = {round(100 * n / total, 1) for total in totals for n in range(total + 1)}
    assert shares
    assert shares <= possible


def test_markup_in_names_is_text(digits):
    bad = "<img src=x onerror=alert(1)>\"'&"
    classes = (bad, *digits.classes[1:-1], "</style><script>alert(2)</script>")
    environment = digits.environment | {"<b>key</b>": ["<i>value</i>"]}
    results = dataclasses.replace(
        digits,
        classes=classes,
        job=digits.job | {"name": bad, "data": {"source": "folder", "path": f"a/{bad}"}},
        environment=environment,
        bounds=digits.bounds | {"refused_float32": "<u>no</u>"},
    )
    page = Page(render_page(results))
    assert not any(tag in ("script", "b", "u") for tag, _ in page.tags)
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert bad in page.words


def test_a_run_without_breaks_history_images_or_gates(digits):
    rows = [
        each | {"robust": each["correct"], "claimed": False, "attacked": None, "distance": 0.0}
        for each in digits.attacks.to_pylist()
    ]
    results = dataclasses.replace(
        digits, attacks=report_cases.attacks_table(rows), history=[], images={}, certificate={}
    )
    words = Page(render_page(report_cases.with_verdict(results, "passed", gates=[]))).words
    assert "No image that was classified right was broken" in words
    assert "and never did" in words
    assert "Gates of the job" not in words


def test_a_foreign_model_without_job_sections_is_reported(digits):
    results = dataclasses.replace(digits, job={"name": "theirs"})
    assert "The model “theirs”, a classifier in one ONNX file" in Page(render_page(results)).words


def test_figures_that_the_tables_do_not_give_are_refused(digits):
    better = digits.summary | {"clean_accuracy": 0.99}
    with pytest.raises(CertifyError, match=r"clean_accuracy is 0\.99, not 0\.94"):
        render_page(dataclasses.replace(digits, summary=better))


def test_a_class_without_a_name_is_refused(digits):
    with pytest.raises(CertifyError, match="class 9 has no name; 9 names were given"):
        render_page(dataclasses.replace(digits, classes=digits.classes[:9]))
    bounds = digits.bounds | {"pair_bounds": [[0.0, 1.0], [1.0, 0.0]]}
    with pytest.raises(CertifyError, match=r"accepted is \(10, 10\)"):
        render_page(dataclasses.replace(digits, bounds=bounds))


def test_the_same_results_give_the_same_bytes_in_another_process():
    """Another hash seed, so that no set or dictionary of strings decides an order."""
    program = (
        "import sys, report_cases, reports.page as page;"
        "text = page.render_page(report_cases.digits_results());"
        "loaded = {'torch', 'ray', 'workers', 'matplotlib.pyplot'} & set(sys.modules);"
        "sys.exit(f'loaded: {loaded}') if loaded else sys.stdout.buffer.write(text.encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == report_cases.page_of("passed")


def test_answers_that_were_left_alone_and_attacks_at_the_radius_are_said():
    results = report_cases.digits_results()
    examples = read_certificates(results.certificates)
    said = did_an_attack_get_through(results, examples)
    assert "attacked inside its own radius, and none gave way" in said
    assert "only a sample was tried" not in said
    alone = dataclasses.replace(results, summary=results.summary | {"left_alone": [3, 2, 1, 0]})
    assert "only a sample was tried" in did_an_attack_get_through(alone, examples)
    assert "proven out of reach" not in said
    aimed = dataclasses.replace(
        results, summary=results.summary | {"rivals_left_out": [0, 0, 7, 0]}
    )
    assert "left out classes proven out of reach" in did_an_attack_get_through(aimed, examples)
    untried = dataclasses.replace(results, radius_attacks=results.radius_attacks.slice(0, 0))
    assert "inside its own radius" not in did_an_attack_get_through(untried, examples)
