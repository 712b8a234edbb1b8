"""Where runs stand, from their own records, read without disturbing them, whatever their state.

A record that says RUNNING is believed while a process holds the run's lock.  The kernel takes the
lock from a process that dies, however it dies, also on another machine that shares the folder; so
a run that was killed is told as incomplete, and a heartbeat or a process number is not needed.
A record that says PENDING may be waiting for its process to start, which takes seconds.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from certify.runs.run_dir import RUN_ID, RunDir
from models.errors import JobError
from workers.storage.places import place_of

EXIT_STATUS = {"passed": 0, "gate_failed": 3, "refuted": 4, "incomplete": 5}
"""Of a verdict; those of errors are in `models/errors.py`."""
LIVE = ("PENDING", "RUNNING")
STATUSES = (*LIVE, "STOPPED", "SUCCEEDED", "FAILED")
STARTING_SECONDS = 120.0
"""A pending run whose process has not begun by then is given up."""
TRACES = ("state.json", "job.json", ".lock")
"""A folder with one of them is a run's."""


@dataclass(frozen=True)
class Record:
    """Where a run stands.

    Attributes:
        run: its id.
        name: of its job.
        status: one of Ray's words: PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED.
        stage: the one that runs, or ran last.
        progress: `done` of `total`, counted in `unit`.
        verdict: passed, gate_failed, refuted or incomplete; None before the end.
        reason: why it waits, stopped or failed.
        since: when this was written, in UTC.
        exit_status: what its command ends with; None before the end.
    """

    run: str
    name: str | None = None
    status: str = "FAILED"
    stage: str | None = None
    progress: dict[str, Any] | None = None
    verdict: str | None = None
    reason: str | None = None
    since: str | None = None
    exit_status: int | None = None

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.status in LIVE

    def to_json(self) -> dict[str, Any]:
        """All of it, for a program."""
        return asdict(self)


def read_record(run_dir: RunDir) -> Record:
    """Where a run stands; never fails, since a damaged record is told as one.

    The lock is looked at after the record and the record then read again: a run that ended in
    between has written its end before it let go of the lock.
    """
    found = stored(run_dir)
    if not found.live or run_dir.held():
        return found
    found = stored(run_dir)
    if not found.live or (found.status == "PENDING" and _age(found) < STARTING_SECONDS):
        return found
    gone = "no process took it up" if found.status == "PENDING" else "its process is gone"
    return _incomplete(found, f"{gone}; resume it")


def all_records(runs: Path) -> list[Record]:
    """Every run of a folder, the one that changed last at the end.

    Raises:
        ClusterError: If the folder cannot be read.
    """
    names = [name for name in place_of(runs).folders() if RUN_ID.fullmatch(name)]
    found = [read_record(run_dir) for name in names if is_run(run_dir := RunDir(runs, name))]
    return sorted(found, key=lambda record: record.since or "")


def find_run(runs: Path, run: str) -> RunDir:
    """The folder of a run that is there.

    Raises:
        JobError: If there is none.
    """
    run_dir = RunDir(runs, run)
    if not is_run(run_dir):
        if not place_of(runs).folders():
            raise JobError(
                f"no run {run!r}: found nothing in {runs}; accepted is --runs with its folder"
            )
        raise JobError(f"no run {run!r} in {runs}; certify list names those that are there")
    return run_dir


def is_run(run_dir: RunDir) -> bool:
    """Whether a folder holds a run, however little of it."""
    return any(run_dir.has(name) for name in TRACES)


def stored(run_dir: RunDir) -> Record:
    """What `state.json` says, or that it says nothing."""
    unknown = Record(run_dir.run)
    try:
        state = json.loads(run_dir.read("state.json"))
        kept = {key: state.get(key) for key in unknown.to_json() if key != "run"}
        found = Record(run_dir.run, **kept)
        if not _sane(found):
            raise ValueError("its words are none of a record's")
    except FileNotFoundError:
        if run_dir.held():
            return Record(run_dir.run, status="PENDING")
        return _incomplete(unknown, "it never began; resume it")
    except (OSError, ValueError, AttributeError, RecursionError) as fault:
        reason = getattr(fault, "strerror", None) or "it is damaged"
        if run_dir.held():
            return Record(run_dir.run, status="RUNNING", reason=f"state.json: {reason}")
        return _incomplete(unknown, f"state.json cannot be read: {reason}; resume it")
    if found.live:
        return found
    status = found.exit_status
    if status is None:
        status = EXIT_STATUS.get(found.verdict or "", 1)
    return Record(**(found.to_json() | {"exit_status": status}))


def _sane(found: Record) -> bool:
    """Whether every field holds what it may."""
    words = (found.name, found.stage, found.verdict, found.reason, found.since)
    progress = {"done": 0, "total": 0} if found.progress is None else found.progress
    return (
        found.status in STATUSES
        and all(word is None or isinstance(word, str) for word in words)
        and (found.verdict is None or found.verdict in EXIT_STATUS)
        and (found.exit_status is None or isinstance(found.exit_status, int))
        and isinstance(progress, dict)
        and all(isinstance(progress.get(key), int) for key in ("done", "total"))
    )


def _incomplete(found: Record, reason: str) -> Record:
    ended = {"status": "FAILED", "verdict": "incomplete", "reason": reason}
    return Record(**(found.to_json() | ended | {"exit_status": EXIT_STATUS["incomplete"]}))


def _age(found: Record) -> float:
    """Seconds since a record was written."""
    try:
        written = datetime.fromisoformat(found.since or "")
        return (datetime.now(UTC) - written).total_seconds()
    except (ValueError, TypeError):
        return float("inf")
