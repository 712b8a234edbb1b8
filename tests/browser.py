"""A headless Chromium, driven through its debugging pipe.

Width and colour scheme are emulated exactly, and every console message and request is seen.
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


@contextlib.contextmanager
def opened(profile):
    """A browser, until the end of the block; a test that has none is skipped."""
    if CHROMIUM is None:
        pytest.skip("no chromium in PATH")
    browser = Browser(profile)
    try:
        yield browser
    finally:
        browser.close()
