"""Run a job here: its data, its folder, and a Ray of this process's own."""

import time
from pathlib import Path
from typing import Any

from certify.interruption import listen
from certify.job import JobSpec
from certify.progress import Reporter
from certify.run import Run, check_same_job
from certify.run_dir import RunDir
from workers.cluster import embedded_cluster, warm_up
from workers.data import load_data
from workers.training import lesson, rehearse


def run_here(
    job: JobSpec, job_file: Path, *, runs: Path, run: str
) -> tuple[dict[str, Any], RunDir]:
    """Run a job to its report on this machine.

    Args:
        job: what is asked for.
        job_file: where it was read from; relative paths of the job begin beside it.
        runs: folder that holds the runs.
        run: id; a run that exists is continued.

    Returns:
        The summary, and the run's folder.

    Raises:
        CertifyError: If anything is refused or fails.
    """
    from certify.pipeline import run_job

    reporter = Reporter()
    run_dir = RunDir(runs, run)
    check_same_job(run_dir, job)
    dataset = load_data(job.data, seed=job.seed, folder=job_file.parent)
    run_dir.create()
    with run_dir.locked():
        opened = Run(job, dataset, run_dir, reporter)
        opened.open(job_file.read_bytes())
        reporter.say(f"run {run}; stop it with Ctrl-C, continue it with --run {run}")
        started = time.monotonic()
        with opened.watched(), embedded_cluster(job.resources):
            listen()  # Ray takes SIGTERM for itself
            warm_up(job.resources)
            reporter.say(f"{'start':<8} {time.monotonic() - started:6.1f} s   Ray")
            return run_job(opened), run_dir


def rehearse_here(job: JobSpec, folder: Path) -> str:
    """Load the data, build the model, run one forward pass; neither Ray nor a folder is needed.

    Returns:
        What was found, in a few words.

    Raises:
        CertifyError: If the data or the model is refused.
    """
    dataset = load_data(job.data, seed=job.seed, folder=folder)
    told = lesson(
        dataset,
        model=job.model,
        train=job.train,
        seed=job.seed,
        eps=job.eps,
        resources=job.resources,
    )
    rehearse(told, dataset)
    shape = "×".join(str(side) for side in dataset.input_shape)
    return (
        f"{len(dataset.train)} training, {len(dataset.validation)} validation and "
        f"{len(dataset.test)} test images of {shape} in {len(dataset.classes)} classes; "
        f"a forward pass of the {job.model.architecture} works"
    )
