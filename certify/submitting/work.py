"""A job or a sweep with its data and its folder: what is begun, here and on a cluster alike."""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from certify.jobs.sweep import Plan, Sweep
from certify.pipeline import run_job
from certify.runs.interruption import heed, limited, listen
from certify.runs.plans import check_same
from certify.runs.progress import Reporter
from certify.runs.run import Run
from certify.runs.run_dir import RunDir
from certify.runs.steering import STOP
from certify.stages.sweep import run_sweep
from certify.submitting.inputs import read_inputs, rehearse_job
from certify.submitting.sweeping import open_sweep, rehearse_sweep, search_of
from workers.cluster import warm_up


@dataclass(frozen=True)
class Work:
    """What a job and a sweep have in common.

    Attributes:
        run: the folder and the record; a sweep's job is an example of its jobs.
        open: writes what the run begins with, of which the file as it was written is an argument,
            or makes sure that job and data are the same; this process must hold the folder.
        story: does what has not been done yet, on a cluster that is there, and gives the summary.
    """

    run: Run
    open: Callable[[bytes], None]
    story: Callable[[], dict[str, Any]]


def work_of(plan: Plan, *, folder: Path, run_dir: RunDir) -> Work:
    """Read the data of a job or a sweep, and check that the run's folder is empty or its own.

    Args:
        plan: what is asked for.
        folder: where relative paths of the job begin.
        run_dir: of the run, there already or not.

    Raises:
        CertifyError: If anything is refused.
    """
    if isinstance(plan, Sweep):
        search = search_of(plan, folder=folder, run_dir=run_dir)
        check_same(run_dir, plan)
        return Work(search.run, partial(open_sweep, search), partial(run_sweep, search))
    job, dataset, foreign = read_inputs(plan, folder, run_dir=run_dir)
    check_same(run_dir, job)
    run = Run(job, dataset, run_dir, Reporter(), foreign)
    return Work(run, run.open, partial(run_job, run))


def rehearse(plan: Plan, folder: Path) -> str:
    """Load the data and run a forward pass of each network; neither Ray nor a folder is needed.

    Returns:
        What was found, in a few words.

    Raises:
        CertifyError: If the data or a network is refused.
    """
    if isinstance(plan, Sweep):
        return rehearse_sweep(plan, folder)
    return rehearse_job(plan, folder)


def carry_out(work: Work, cluster: AbstractContextManager[None]) -> dict[str, Any]:
    """Do opened work whose folder this process holds, within the job's time limit.

    What a library prints meanwhile, as Ray does where a worker dies, goes to stderr: stdout is for
    results.

    Args:
        work: a job or a sweep.
        cluster: entered here.

    Returns:
        The summary.

    Raises:
        CertifyError: If the cluster does not start, or anything fails.
    """
    run, started = work.run, time.monotonic()
    heed(lambda: run.dir.has(STOP), every=run.dir.files.poll_seconds)
    run.note("PENDING", reason="Ray starts")
    with redirect_stdout(sys.stderr), cluster, limited(run.job.resources.time_limit):
        listen()  # Ray takes SIGTERM for itself
        warm_up(run.job.resources)
        run.reporter.say(f"{'start':<8} {time.monotonic() - started:6.1f} s   Ray")
        return work.story()
