"""An interrupt that a library swallows is obeyed at the next step."""

import subprocess
import sys

import pytest

PROBE = """
import os, signal
from contextlib import suppress
from certify.runs.interruption import listen, obey
from certify.runs.progress import Reporter
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


AGAIN = """
import os, signal
from certify.runs.interruption import listen, reason
listen()
try:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None  # as Ray does
except KeyboardInterrupt as stopped:
    print(reason(stopped))
print(reason(KeyboardInterrupt("another")))
"""


def test_an_interrupt_that_a_library_raises_again_without_words_keeps_its_reason():
    done = subprocess.run(
        [sys.executable, "-c", AGAIN], capture_output=True, text=True, check=False
    )
    assert done.stdout == "interrupted\nanother\n", done.stderr


def test_without_an_interrupt_nothing_stops():
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(name="SIGINT").split("    with suppress")[0]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


REASONS = """
import sys, time
from pathlib import Path
from certify.runs.interruption import heed, limited, obey
request = Path(sys.argv[1])
try:
    {how}
    obey()
    print("not asked")
    {then}
    obey()
except KeyboardInterrupt as wish:
    print(wish)
"""


@pytest.mark.parametrize(
    ("how", "then", "reason"),
    [
        ("heed(request.exists)", "request.touch()", "stopped on request"),
        ("block = limited(0.2); block.__enter__()", "time.sleep(30)", "the time limit is reached"),
        ("block = limited(None); block.__enter__()", "sys.exit()", None),
    ],
)
def test_a_run_stops_for_a_reason(how, then, reason, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", REASONS.format(how=how, then=then), tmp_path / "stop"],
        capture_output=True,
        text=True,
        check=False,
        timeout=25,
    )
    assert done.stdout.splitlines() == ["not asked", reason][: 2 if reason else 1], done.stderr
