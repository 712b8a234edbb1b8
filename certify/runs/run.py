"""One execution of a job: what every stage reads, and the record of how far it is."""

import secrets
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from certify.jobs.job import JobSpec
from certify.runs.environment import describe_environment
from certify.runs.interruption import obey, reason
from certify.runs.plans import refuse_other
from certify.runs.progress import QUIET_SECONDS, Reporter, StageProgress
from certify.runs.records import EXIT_STATUS, Record, stored
from certify.runs.run_dir import RunDir
from models.errors import CertifyError, ClusterError, JobError
from models.splits import Dataset
from workers.data import describe
from workers.foreign import Foreign

FOREIGN = "foreign.onnx"
"""The model of somebody else, in a folder that other machines reach and the model's they do not."""
ROOM = ".room"
"""A file that makes room for the last words on a disk that has become full."""
ROOM_BYTES = 16_384


@dataclass(frozen=True)
class Run:
    """The job, its data, its folder, and who is told how it goes."""

    job: JobSpec
    dataset: Dataset
    dir: RunDir
    reporter: Reporter
    foreign: Foreign | None = None
    """The model of a job that trains nothing."""

    def open(self, job_file: bytes) -> None:
        """Write what a run begins with, or make sure that its folder belongs to this job and data.

        Args:
            job_file: the job as the user wrote it, kept beside the resolved one.

        Raises:
            JobError: If the folder holds another job, or the data has changed since.
        """
        streamed = None if self.foreign is None else self.foreign.streamed
        data = describe(self.dataset) if streamed is None else streamed.stream.describe()
        if not self.dir.has("job.json"):
            self.dir.write_json("data.json", data)
            begun = {"begun": datetime.now(UTC).isoformat(timespec="seconds")}
            self.dir.write_json("environment.json", begun | describe_environment())
        else:
            refuse_other(self.dir, self.job)
            if self.dir.read_json("data.json") != data:
                raise JobError(f"the data of run {self.dir.run} has changed since it began")
        if self.foreign is not None and self.dir.shared:
            self.dir.write(FOREIGN, self.foreign.imported.model)
        self.dir.write("job.toml", job_file)
        self.dir.write("job.json", self.job.to_json())

    def follow(self, stage: str, *, total: int, unit: str) -> AbstractContextManager[StageProgress]:
        """A bar or a line for a stage, and a record of it in `state.json`."""
        told = time.monotonic()

        def record(done: int) -> None:
            nonlocal told
            progress = {"done": done, "total": total, "unit": unit}
            self.note("RUNNING", stage=stage, progress=progress)
            if time.monotonic() - told >= QUIET_SECONDS:
                told = time.monotonic()
                self.dir.record("stage goes on", stage=stage, **progress)

        return self.reporter.stage(stage, total=total, unit=unit, record=record)

    @contextmanager
    def recorded(self, stage: str) -> Iterator[None]:
        """Record a stage: that it runs, and how long it took, over all times it was begun."""
        obey()
        self.note("RUNNING", stage=stage)
        self.dir.record("stage begins", stage=stage)
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = self.seconds()
            seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - started, 3)
            with suppress(ClusterError):  # a full disk has been told of
                self.dir.write_json("seconds.json", seconds)
        self.dir.record("stage ends", stage=stage, seconds=seconds[stage])

    def seconds(self) -> dict[str, float]:
        """Seconds of each stage so far."""
        found: dict[str, float] = {}
        if self.dir.has("seconds.json"):
            found = self.dir.read_json("seconds.json")
        return found

    def note(self, status: str, **facts: Any) -> None:
        """Write where the run stands: Ray's status words, stage, progress, verdict, reason."""
        note(self.dir, status, name=self.job.name, **facts)


@contextmanager
def watched(run_dir: RunDir, *, name: str) -> Iterator[None]:
    """Leave a truthful record however a run ends, on a disk that has become full too."""
    try:
        run_dir.write(ROOM, secrets.token_bytes(ROOM_BYTES))
        yield
    except BaseException as fault:
        stopped, known = isinstance(fault, KeyboardInterrupt), isinstance(fault, CertifyError)
        with suppress(ClusterError, OSError):
            run_dir.delete(ROOM)
            if not (stopped or known):
                run_dir.record("bug", traceback=traceback.format_exc())
            note(
                run_dir,
                "STOPPED" if stopped else "FAILED",
                name=name,
                verdict="incomplete",
                reason=_why(fault),
                exit_status=EXIT_STATUS["incomplete"] if stopped else _exit_status(fault),
            )
        raise
    finally:
        with suppress(OSError):
            run_dir.delete(ROOM)


def note(run_dir: RunDir, status: str, *, name: str, **facts: Any) -> None:
    """Write a run's record, and a line of its history where the status is another than before.

    Args:
        run_dir: the run's folder.
        status: one of Ray's words.
        name: of the job.
        facts: what else a `Record` holds; stage and progress stay what they were if left out.
    """
    before = stored(run_dir)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    kept = {} if "stage" in facts else {"stage": before.stage, "progress": before.progress}
    record = Record(run_dir.run, name=name, status=status, since=now, **(kept | facts))
    if (before.status, before.reason) != (status, record.reason):
        run_dir.record("status", status=status, stage=record.stage, reason=record.reason)
    run_dir.write_json("state.json", record.to_json())  # last: who follows ends with it


def stored_model(run_dir: RunDir | None) -> bytes | None:
    """The foreign model that a run holds, if it does."""
    if run_dir is None or not run_dir.shared or not run_dir.has(FOREIGN):
        return None
    return run_dir.read(FOREIGN)


def _exit_status(fault: BaseException) -> int:
    return fault.exit_status if isinstance(fault, CertifyError) else 1


def _why(fault: BaseException) -> str:
    if isinstance(fault, KeyboardInterrupt):
        return reason(fault)
    return str(fault) if isinstance(fault, CertifyError) else f"{type(fault).__name__}: {fault}"
