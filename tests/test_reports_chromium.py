"""The page in a real browser: phone and desk, light and dark; silent, still, and alone."""

import pytest
import report_cases
from browser import opened

CASES = ("passed", "colour", "refuted", "incomplete")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module", params=CASES)
def address(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report_cases.page_of(request.param), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_is_silent_and_asks_no_host(browser, address, width, scheme):
    browser.open(address, width=width, scheme=scheme)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
    assert browser.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    spoken = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    assert [event for event in browser.events if event["method"] in spoken] == []
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert address in asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_light_and_dark_differ_and_both_can_be_read(browser, address):
    """Contrast of the body text, and of every colour that text is set in, by WCAG's formula."""
    papers = set()
    for scheme in ("light", "dark"):
        browser.open(address, width=1280, scheme=scheme)
        papers.add(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        for text in ("body", ".note", ".verdict", "td.proven", ".running", "h1 .figure"):
            seen = browser.evaluate(f"getComputedStyle(document.querySelector('{text}')).color")
            paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
            assert contrast(seen, paper) >= 4.5, (scheme, text)
    assert len(papers) == 2


def test_it_says_what_matters_on_the_first_screen(browser, address):
    browser.open(address, width=1280, height=800)
    for what in ("#verdict", "h1", ".questions"):
        assert (
            browser.evaluate(f"document.querySelector('{what}').getBoundingClientRect().top") < 640
        )


def test_a_print_shows_long_tables_whole(browser, address):
    browser.open(address, width=800, media="print")
    hidden = (
        "[...document.querySelectorAll('.scroll.long')].map(e => e.scrollHeight - e.clientHeight)"
    )
    assert all(cut <= 1 for cut in browser.evaluate(hidden))


def contrast(one, other):
    lights = sorted(luminance(each) for each in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour):
    channels = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
