"""What a job and a sweep go through alike on this machine: folder, cluster, interrupt."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from pathlib import Path

from certify.runs.interruption import heed, limited, listen, reason
from certify.runs.origin import Origin, attempts
from certify.runs.progress import Reporter
from certify.runs.run import Run
from certify.runs.run_dir import RunDir
from certify.runs.standing import command
from certify.runs.steering import STOP
from models.errors import IncompleteRunError
from workers.cluster import warm_up


@contextmanager
def continuable(run_dir: RunDir) -> Iterator[None]:
    """Take signals for as long as the block lasts, and say how a stopped run goes on.

    Raises:
        IncompleteRunError: If the block was stopped.
    """
    listen()
    try:
        yield
    except KeyboardInterrupt as stopped:
        again = command("resume", run_dir)
        raise IncompleteRunError(f"{reason(stopped)}; continue with: {again}") from None


@contextmanager
def held(run_dir: RunDir, *, folder: Path, reporter: Reporter) -> Iterator[None]:
    """Hold a run's folder, there already or not, and say which run it is.

    Args:
        run_dir: of the run.
        folder: where relative paths of the job begin.
        reporter: to whom it is said.

    Raises:
        CertifyError: If the folder cannot be written, or another process holds it.
    """
    run_dir.create()
    with run_dir.locked():
        run_dir.delete(STOP)
        Origin(folder.resolve(), attempt=attempts(run_dir)).write(run_dir)
        again = command("resume", run_dir)
        reporter.say(f"run {run_dir.run}; stop it with Ctrl-C, continue it with: {again}")
        yield


@contextmanager
def at_work(run: Run, cluster: AbstractContextManager[None]) -> Iterator[None]:
    """A cluster for an opened run whose folder this process holds, within the job's time limit.

    What a library prints meanwhile, as Ray does where a worker dies, goes to stderr: stdout is for
    results.

    Raises:
        ClusterError: If the cluster does not start.
    """
    started = time.monotonic()
    heed(lambda: run.dir.has(STOP), every=run.dir.files.poll_seconds)
    run.note("PENDING", reason="Ray starts")
    with redirect_stdout(sys.stderr), cluster, limited(run.job.resources.time_limit):
        listen()  # Ray takes SIGTERM for itself
        warm_up(run.job.resources)
        run.reporter.say(f"{'start':<8} {time.monotonic() - started:6.1f} s   Ray")
        yield
