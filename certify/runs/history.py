"""What has happened to a run, line by line, from its `events.jsonl`: read whole, or followed."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from certify.runs.records import Record, read_record
from certify.runs.run_dir import HISTORY, RunDir
from models.errors import ClusterError

POLL_SECONDS = 0.3
DAMAGED = {"event": "damaged"}
"""Stands for a line that is no event, as a power cut may leave one."""


def events(
    run_dir: RunDir,
    *,
    follow: bool = False,
    start: int = 0,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[dict[str, Any]]:
    """The run's events in order.

    Args:
        run_dir: the run's folder.
        follow: go on until the run has ended.
        start: bytes of the history to leave out.
        meanwhile: called again and again while the run goes on.
    """
    place = start
    while True:
        over = not follow or not read_record(run_dir).live  # first: its last words are read then
        lines, place = _lines(run_dir, place, whole=not over)
        for line in lines:
            yield _event(line)
        if over:
            return
        meanwhile()
        time.sleep(max(POLL_SECONDS, run_dir.files.poll_seconds))


def length(run_dir: RunDir) -> int:
    """Bytes of the history so far."""
    try:
        return len(run_dir.read(HISTORY))
    except FileNotFoundError:
        return 0


def changes(run_dir: RunDir) -> Iterator[Record]:
    """The run's record whenever it changes, until the run has ended."""
    before = None
    while True:
        record = read_record(run_dir)
        if record != before:
            yield record
        if not record.live:
            return
        before = record
        time.sleep(max(POLL_SECONDS, run_dir.files.poll_seconds))


def in_words(event: dict[str, Any]) -> str:
    """An event as a line for a person, in this machine's time."""
    what, stage = event.get("event"), str(event.get("stage") or "")
    match what:
        case "stage begins":
            words = f"{stage:<8} begins"
        case "stage goes on":
            words = f"{stage:<8} {event.get('done')} of {event.get('total')} {event.get('unit')}"
        case "stage ends":
            words = f"{stage:<8} ends after {event.get('seconds')} s"
        case "trained":
            words = f"{event.get('epochs')} epochs behind; epoch {event.get('shipped_epoch')} ships"
        case "status":
            words = ": ".join(filter(None, (str(event.get("status")), event.get("reason"))))
        case "bug":
            words = str(event.get("traceback"))
        case "damaged":
            return "(a damaged line)"
        case _:
            words = json.dumps(event, ensure_ascii=False)
    return f"{_clock(event)}  {words}"


def _lines(run_dir: RunDir, place: int, *, whole: bool) -> tuple[list[bytes], int]:
    """Lines from a place on and the next place; `whole` leaves a line that is still written."""
    try:
        text = run_dir.read(HISTORY, start=place)
    except FileNotFoundError:
        return [], place
    except OSError as fault:
        raise ClusterError(f"{run_dir.where(HISTORY)}: {fault.strerror}") from None
    if whole:
        text = text[: text.rfind(b"\n") + 1]
    return [line for line in text.split(b"\n") if line], place + len(text)


def _event(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return DAMAGED
    return found if isinstance(found, dict) else DAMAGED


def _clock(event: dict[str, Any]) -> str:
    try:
        return datetime.fromisoformat(event["time"]).astimezone().strftime("%H:%M:%S")
    except (KeyError, TypeError, ValueError):
        return "??:??:??"
