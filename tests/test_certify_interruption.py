"""An interrupt that a library swallows is obeyed at the next step."""

import subprocess
import sys

import pytest

PROBE = """
import os, signal
from contextlib import suppress
from certify.interruption import listen, obey
from certify.progress import Reporter
listen()
with Reporter().stage("attack", total=2, unit="attacks", record=lambda done: None) as progress:
    progress.advance()
    with suppress(KeyboardInterrupt):  # as a library might
        os.kill(os.getpid(), signal.{name})
        raise SystemExit("the signal was not heard")
    try:
        progress.advance()
    except KeyboardInterrupt:
        print("stopped")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_that_was_swallowed_is_obeyed_at_the_next_step(name):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(name=name)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "stopped\n", done.stderr


def test_without_an_interrupt_nothing_stops():
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(name="SIGINT").split("    with suppress")[0]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
