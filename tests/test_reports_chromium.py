"""The page in a real browser: phone and desk, light and dark; silent, still, and alone.

Chromium is driven through its debugging pipe: width and colour scheme are emulated exactly, and
every console message and every request is seen.
"""

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time

import pytest
import report_cases

CHROMIUM = shutil.which("chromium")
PATIENCE = 40.0  # seconds for any one answer
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)
TAKE_PIPES = """
import os, sys
pipes = [os.dup2(int(fd), 10 + place) for place, fd in enumerate(sys.argv[1:3])]
os.dup2(pipes[0], 3)  # the browser reads commands here
os.dup2(pipes[1], 4)  # and answers here
os.execv(sys.argv[3], sys.argv[3:])
"""
CASES = ("passed", "colour", "refuted", "incomplete")


class Browser:
    """A headless Chromium: commands in, answers and events out."""

    def __init__(self, profile):
        down_read, self._down = os.pipe()
        self._up, up_write = os.pipe()
        take_pipes = [sys.executable, "-c", TAKE_PIPES, str(down_read), str(up_write)]
        self._process = subprocess.Popen(
            [*take_pipes, CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(down_read, up_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down_read)
        os.close(up_write)
        self._buffer = b""
        self._last = 0
        self.events = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    _session = None

    def send(self, method, **params):
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._down, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._read())

    def _read(self):
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._up], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no answer from the browser in {PATIENCE} s"
            got = os.read(self._up, 1 << 20)
            assert got, "the browser ended"
            self._buffer += got
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)

    def open(self, address, *, width, height=844, scheme="light", scale=1, media=""):
        """Load a page at this size and colour scheme; the events of loading it are kept."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=features, media=media)
        self.events.clear()
        self.send("Page.navigate", url=address)
        self.wait_for("Page.loadEventFired")

    def evaluate(self, expression):
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def close(self):
        self._session = None
        with contextlib.suppress(AssertionError, OSError):
            self.send("Browser.close")
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._down)
        os.close(self._up)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no chromium in PATH")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=CASES)
def address(request, tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no chromium in PATH")
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
