"""Run on a cluster: begun here, carried out there, followed through the run's own record.

The runs folder, and the data, must lie where the cluster's head sees them under the same path: on
the same machine, or on a disk that both share.
"""

import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from certify.jobs.sweep import Plan
from certify.runs.history import events, in_words, length
from certify.runs.origin import Origin, attempts
from certify.runs.records import Record, is_run, read_record
from certify.runs.run import note
from certify.runs.run_dir import RunDir
from certify.runs.steering import STOP
from certify.submitting.work import work_of
from models.errors import ClusterError
from workers.jobs import connect, failure, submit_once

ASK_SECONDS = 3.0
"""Between two questions to the cluster about a run that has not begun."""


class There:
    """A run on a cluster, seen from here."""

    def __init__(self, run_dir: RunDir, client: Any, submission: str, start: int) -> None:
        self.dir, self.start = run_dir, start
        self._client, self._submission, self._asked = client, submission, time.monotonic()

    def lines(self) -> Iterator[str]:
        """What happens to it from its submission on, in words, until it ends."""
        for event in events(self.dir, follow=True, start=self.start, meanwhile=self._look):
            yield in_words(event)

    def record(self) -> Record:
        """Where it stands."""
        return read_record(self.dir)

    def _look(self) -> None:
        """Write down why a run never began, which only the cluster knows."""
        if time.monotonic() - self._asked < ASK_SECONDS:
            return
        self._asked = time.monotonic()
        record = self.record()
        if record.status != "PENDING" or self.dir.held():
            return
        reason = failure(self._client, self._submission)
        if reason is not None and self.record() == record and not self.dir.held():
            _failed(self.dir, record.name or "", ClusterError(reason))


def begin_there(plan: Plan, text: bytes, *, folder: Path, run_dir: RunDir, address: str) -> There:
    """Check a job or a sweep here and hand it to a cluster; a run that goes on is left alone.

    Args:
        plan: what is asked for.
        text: the file as it was written.
        folder: where relative paths of the job begin.
        run_dir: of the run, there already or not.
        address: of the cluster's job server.

    Raises:
        CertifyError: If anything is refused.
    """
    work = work_of(plan, folder=folder, run_dir=run_dir)
    client = connect(address)
    begun = length(run_dir)
    live = is_run(run_dir) and read_record(run_dir).live
    attempt = attempts(run_dir)  # looked at after the record, which is written last
    if live:
        return There(run_dir, client, _submission(run_dir, attempt), 0)
    attempt += 1
    run_dir.create()
    with run_dir.locked():
        run_dir.delete(STOP)
        work.open(text)
        Origin(folder.resolve(), address, attempt).write(run_dir)
        work.run.note("PENDING", reason="the cluster starts its process")
    driver = [sys.executable, "-m", "certify.submitting.driver", run_dir.runs, run_dir.run]
    entrypoint = shlex.join(driver)
    try:
        submit_once(client, entrypoint, submission=_submission(run_dir, attempt))
    except ClusterError as fault:
        _failed(run_dir, plan.name, fault)
        raise
    return There(run_dir, client, _submission(run_dir, attempt), begun)


def _failed(run_dir: RunDir, name: str, fault: ClusterError) -> None:
    ended = {"verdict": "incomplete", "reason": str(fault), "exit_status": fault.exit_status}
    note(run_dir, "FAILED", name=name, **ended)


def _submission(run_dir: RunDir, attempt: int) -> str:
    """What the cluster calls the run: the same for two who submit it at once."""
    return f"{run_dir.run}.{attempt}"
