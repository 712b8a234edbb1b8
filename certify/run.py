"""One execution of a job: what every stage reads, and the record of how far it is."""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from certify.environment import describe_environment
from certify.interruption import obey
from certify.job import JobSpec
from certify.progress import Reporter, StageProgress
from certify.run_dir import RunDir
from models.errors import CertifyError, JobError
from models.splits import Dataset
from workers.data import describe
from workers.foreign import Foreign


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
        data = describe(self.dataset)
        if not self.dir.has("job.json"):
            self.dir.write_json("data.json", data)
            self.dir.write_json("environment.json", describe_environment())
        else:
            check_same_job(self.dir, self.job)
            if self.dir.read_json("data.json") != data:
                raise JobError(f"the data of run {self.dir.run} has changed since it began")
        self.dir.write("job.toml", job_file)
        self.dir.write("job.json", self.job.to_json())

    def follow(self, stage: str, *, total: int, unit: str) -> AbstractContextManager[StageProgress]:
        """A bar or a line for a stage, and a record of it in `state.json`."""

        def record(done: int) -> None:
            progress = {"done": done, "total": total, "unit": unit}
            self.note("RUNNING", stage=stage, progress=progress)

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
        state = {
            "run": self.dir.run,
            "name": self.job.name,
            "status": status,
            "stage": None,
            "progress": None,
            "verdict": None,
            "reason": None,
            "process": os.getpid(),
        }
        if self.dir.has("state.json") and "stage" not in facts:  # how far it was when it ended
            before = self.dir.read_json("state.json")
            state |= {key: before.get(key) for key in ("stage", "progress")}
        self.dir.write_json("state.json", state | facts)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Leave a truthful record however the run ends."""
        try:
            yield
        except KeyboardInterrupt:
            self.note("STOPPED", verdict="incomplete", reason="interrupted")
            raise
        except BaseException as fault:
            known = isinstance(fault, CertifyError)
            reason = str(fault) if known else f"{type(fault).__name__}: {fault}"
            self.note("FAILED", verdict="incomplete", reason=reason)
            raise


def check_same_job(run_dir: RunDir, job: JobSpec) -> None:
    """Make sure that a folder is empty, or belongs to a job that gives the same result.

    Raises:
        JobError: If it holds another job.
    """
    if not run_dir.has("job.json"):
        return
    stored = JobSpec.model_validate_json(run_dir.read("job.json"))
    if stored.sha256() != job.sha256():
        raise JobError(
            f"run {run_dir.run} exists with another job; accepted is the same job, or another id"
        )
