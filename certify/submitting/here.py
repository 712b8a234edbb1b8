"""Run a job or a sweep here: in its folder, on a Ray of this process's own."""

from pathlib import Path
from typing import Any

from certify.jobs.sweep import Plan, Sweep
from certify.runs.origin import Origin, attempts
from certify.runs.run import watched
from certify.runs.run_dir import RunDir
from certify.runs.standing import command
from certify.runs.steering import STOP
from certify.submitting.work import carry_out, work_of
from models.model_spec import OnnxSpec
from workers.cluster import embedded_cluster, refuse_resources
from workers.machine import refuse_precision
from workers.tasks import device


def run_here(plan: Plan, text: bytes, *, folder: Path, run_dir: RunDir) -> dict[str, Any]:
    """Run a job or a sweep to its report on this machine, or continue it.

    Args:
        plan: what is asked for.
        text: the file as it was written.
        folder: where relative paths of the job begin.
        run_dir: of the run, there already or not.

    Returns:
        The summary.

    Raises:
        CertifyError: If anything is refused or fails.
    """
    refuse_here(plan)
    work = work_of(plan, folder=folder, run_dir=run_dir)
    run, again = work.run, command("resume", run_dir)
    run_dir.create()
    with run_dir.locked():
        run_dir.delete(STOP)
        Origin(folder.resolve(), attempt=attempts(run_dir)).write(run_dir)
        run.reporter.say(f"run {run_dir.run}; stop it with Ctrl-C, continue it with: {again}")
        work.open(text)
        with watched(run_dir, name=run.job.name):
            return carry_out(work, embedded_cluster(run.job.resources))


def refuse_here(plan: Plan) -> None:
    """Refuse what this machine cannot do, before anything is read or written.

    Raises:
        JobError: With what is asked for and what is there.
    """
    job = plan.example if isinstance(plan, Sweep) else plan
    refuse_resources(job.resources)
    if not isinstance(job.model, OnnxSpec):
        refuse_precision(job.train.precision, device(job.resources))
