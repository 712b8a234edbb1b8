"""Run a job, here or on a cluster, to its end."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from certify.commands.options import Address, AsJson, JobFile, NoWait, RunId, RunsFolder
from certify.commands.sweeping import sweep
from certify.jobs.job import JobSpec
from certify.jobs.sweep import Sweep, load_plan
from models.errors import IncompleteRunError

if TYPE_CHECKING:
    from certify.runs.run_dir import RunDir
    from certify.submitting.remote import There


def submit(
    job_file: JobFile,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in train.epochs=3."),
    ] = None,
    run: RunId = None,
    runs: RunsFolder = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check job, data and model, then stop.")
    ] = False,
    address: Address = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Run a job, or a sweep of jobs, from data to a report, here or on a cluster."""
    plan = load_plan(job_file, overrides=overrides or ())
    if isinstance(plan, Sweep):
        sweep(
            plan,
            job_file,
            runs=runs,
            run=run,
            dry_run=dry_run,
            address=address,
            as_json=as_json,
        )
    job = plan
    if dry_run:
        rehearse(job, job_file, folder=job_file.parent)
        return
    text, folder = job_file.read_bytes(), job_file.parent
    carry_out(
        job,
        text,
        folder=folder,
        runs=runs,
        run=run,
        address=address,
        follow=not no_wait,
        as_json=as_json,
    )


def rehearse(job: JobSpec, file: Path, *, folder: Path) -> None:
    """Everything that can be known before a run: the data is there and the model fits it."""
    from certify.submitting.submission import rehearse_here

    described = rehearse_here(job, folder)
    typer.echo(f"{file}: in order; {described}")


def carry_out(
    job: JobSpec,
    text: bytes,
    *,
    folder: Path,
    runs: Path,
    run: str | None,
    as_json: bool,
    address: str | None = None,
    follow: bool = True,
) -> NoReturn:
    """Run a job to its end, print what came out, and end with the verdict's exit status."""
    from certify.runs.run_dir import RunDir, new_run_id
    from certify.runs.standing import print_json

    run_dir = RunDir(runs, run or new_run_id(job.name))
    if address is None:
        _carry_out_here(job, text, folder=folder, run_dir=run_dir, as_json=as_json)
    there = _begin_there(job, text, folder=folder, run_dir=run_dir, address=address)
    if follow:
        _follow(there, as_json=as_json)
    if as_json:
        print_json(there.record().to_json())
    else:
        typer.echo(run_dir.run)
    raise typer.Exit(0)


def _carry_out_here(
    job: JobSpec, text: bytes, *, folder: Path, run_dir: "RunDir", as_json: bool
) -> NoReturn:
    from certify.submitting.here import continuable
    from certify.submitting.submission import run_here

    with continuable(run_dir):
        summary = run_here(job, text, folder=folder, run_dir=run_dir)
    _end(summary, run_dir, as_json=as_json)


def _begin_there(
    job: JobSpec, text: bytes, *, folder: Path, run_dir: "RunDir", address: str
) -> "There":
    """Hand a job to a cluster, and say what can be asked of it now."""
    from certify.runs.standing import command
    from certify.submitting.remote import begin_there

    there = begin_there(job, text, folder=folder, run_dir=run_dir, address=address)
    for verb, options in (("logs", " -f"), ("stop", ""), ("wait", "")):
        typer.echo(command(verb, run_dir) + options, err=True)
    return there


def _follow(there: "There", *, as_json: bool) -> NoReturn:
    """Tell how a run on a cluster goes, and end with its exit status."""
    from certify.runs.standing import command, in_one_line

    try:
        for line in there.lines():
            typer.echo(line, err=True)
    except KeyboardInterrupt:
        again = command("wait", there.dir)
        raise IncompleteRunError(f"the run goes on, unfollowed; see {again}") from None
    record = there.record()
    if record.verdict in ("passed", "gate_failed", "refuted"):
        _end(there.dir.read_json("summary.json"), there.dir, as_json=as_json)
    if record.status == "SUCCEEDED":
        _end(there.dir.read_json("evaluation.json"), there.dir, as_json=as_json)
    typer.echo(f"error: {in_one_line(record)}", err=True)
    raise typer.Exit(record.exit_status or 0)


def _end(summary: dict[str, Any], run_dir: "RunDir", *, as_json: bool) -> NoReturn:
    from certify.runs.outcome import print_evaluation, print_outcome
    from certify.runs.records import EXIT_STATUS

    if summary["verdict"] is None:
        print_evaluation(summary, rows=run_dir.where("rows"), as_json=as_json)
        raise typer.Exit(0)
    print_outcome(summary, report=run_dir.where("report.html"), as_json=as_json)
    raise typer.Exit(EXIT_STATUS[summary["verdict"]])
