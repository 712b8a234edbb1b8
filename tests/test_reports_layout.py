"""What a reader sees of each page in a real browser: nothing cut, hidden, touching or endless."""

import dataclasses

import pytest
import report_cases
from browser import opened
from searched_cases import searched_results

from reports.front import judged
from reports.page import render_page
from reports.sweep import render_sweep

PHONE, DESK = 390, 1280
EPS = (36 / 255, 72 / 255, 108 / 255, 1.0)
LONG = "-".join(["a name that goes on"] * 9)
CUT = """[...document.querySelectorAll('.scroll:not(:has(pre))')]
    .filter(e => e.scrollWidth > e.clientWidth).map(e => e.getAttribute('aria-label'))"""
TOUCHING = """[...document.querySelectorAll('svg.plot')].flatMap(svg => {
    const texts = [...svg.querySelectorAll('text')].map(e => [e, e.getBoundingClientRect()]);
    return texts.flatMap(([one, a], place) => texts.slice(0, place)
        .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 4
                        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
        .map(([other]) => `${one.textContent} / ${other.textContent}`));
})"""


def sweep_page():
    """A sweep over the keys of the example, at four ε, one trial beaten and one that failed."""
    values = {
        "model.widths": [256, 256],
        "train.learning_rate": 0.0123456,
        "train.loss.margin": 0.25,
        "train.loss.temperature": 0.12,
    }
    figures = {"lipschitz_bound": 1.0000123, "epochs": 20, "training_seconds": 754.5}
    trials = [
        {"trial": n, "run": f"s-{n:03d}", "values": values, "failed": None, **figures}
        | {"clean_accuracy": clean, "certified_accuracy": [certified, 0.5, 0.4, 0.1]}
        for n, clean, certified in ((1, 0.9, 0.7), (2, 0.95, 0.6), (3, 0.8, 0.6))
    ]
    trials.append({"trial": 4, "run": "s-004", "values": values, "failed": "it diverged"})
    return render_sweep(
        {"run": "s", "name": "s", "method": "random", "eps": list(EPS), "judging": 1}
        | {"part": "validation", "examples": 100, "trials": judged(trials, judging=0)}
    )


def long_names_page():
    """Every class has a name of nine lines."""
    results = report_cases.colour_results()
    names = tuple(f"{place} {LONG}" for place in range(len(results.classes)))
    return render_page(dataclasses.replace(results, classes=names))


def four_eps_page():
    """The digits at four ε, trained so well that the curves of validation end close together."""
    results = report_cases.digits_results(eps=EPS)
    history = [
        each | {"clean_accuracy": 0.999, "certified_accuracy": [0.998, 0.997, 0.997, 0.997]}
        for each in results.history
    ]
    return render_page(dataclasses.replace(results, history=history))


PAGES = {
    "searched": lambda: render_page(searched_results()),
    "long names": long_names_page,
    "four eps": four_eps_page,
    "sweep": sweep_page,
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, page in PAGES.items():
        (folder / f"{name}.html").write_text(page(), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in PAGES}


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", PAGES)
def test_no_table_is_cut_and_no_words_of_a_drawing_touch(browser, addresses, name, width):
    browser.open(addresses[name], width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(TOUCHING) == []
    if (name, width) != ("sweep", PHONE):  # what was tried does not fit beside what it gave
        assert browser.evaluate(CUT) == []


def test_curves_that_end_together_are_named_from_clean_down_to_the_largest_eps(browser, addresses):
    for width in (PHONE, DESK):
        browser.open(addresses["four eps"], width=width)
        names = browser.evaluate(
            "[...document.querySelectorAll('#run svg.plot text')]"
            ".map(e => [e.getBoundingClientRect(), e.textContent])"
            ".filter(([box, name]) => box.width && /^(clean|ε .*)$/.test(name))"
            ".sort(([one], [other]) => one.top - other.top).map(([, name]) => name)"
        )
        assert names == ["clean", "ε 36/255", "ε 72/255", "ε 108/255", "ε 1"]


def test_on_a_phone_a_sweep_shows_its_accuracies_before_what_was_tried(browser, addresses):
    browser.open(addresses["sweep"], width=PHONE)
    ends = "[...document.querySelectorAll('td.proven')].map(e => e.getBoundingClientRect().right)"
    assert 0 < max(browser.evaluate(ends)) <= PHONE


def test_a_long_name_takes_two_lines_and_is_whole_in_its_title(browser, addresses):
    for width in (PHONE, DESK):
        browser.open(addresses["long names"], width=width)
        names = browser.evaluate(
            "[...document.querySelectorAll('.short')].map(e => [e.title, e.textContent,"
            " e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight)])"
        )
        assert names
        for title, text, lines in names:
            assert LONG in title
            assert title == text
            assert lines < 2.2


def test_every_part_of_a_bar_has_its_number(browser, addresses):
    browser.open(addresses["long names"], width=PHONE)
    parts = browser.evaluate(
        "[...document.querySelectorAll('.part')].map(e => [e.title,"
        " e.querySelector('[aria-hidden]')?.textContent, e.scrollWidth - e.clientWidth])"
    )
    assert any(title.startswith("1 ") for title, _, _ in parts)
    for title, number, cut in parts:
        assert title.split()[0] == number
        assert cut <= 0


def test_text_and_the_table_below_it_stand_apart(browser, addresses):
    browser.open(addresses["searched"], width=DESK)
    apart = """(table => table.getBoundingClientRect().top
        - table.previousElementSibling.getBoundingClientRect().bottom)"""
    gap = browser.evaluate(f"{apart}(document.querySelector('.alarms').closest('.scroll'))")
    assert gap >= 12
