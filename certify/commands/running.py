"""Run a job or a sweep, here or on a cluster, to its end."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from certify.commands.options import Address, AsJson, JobFile, NoWait, RunId, RunsFolder
from certify.jobs.sweep import Plan, load_plan
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
    plan, folder = load_plan(job_file, overrides=overrides or ()), job_file.parent
    if dry_run:
        rehearse(plan, job_file, folder=folder, here=address is None)
        return
    carry_out(
        plan,
        job_file.read_bytes(),
        folder=folder,
        runs=runs,
        run=run,
        address=address,
        follow=not no_wait,
        as_json=as_json,
    )


def rehearse(plan: Plan, file: Path, *, folder: Path, here: bool = True) -> None:
    """All that can be known before a run: the data, a model that fits it, what the job asks for."""
    from certify.submitting.here import refuse_here
    from certify.submitting.work import rehearse as rehearsed

    if here:
        refuse_here(plan)
    typer.echo(f"{file}: in order; {rehearsed(plan, folder)}")


def carry_out(
    plan: Plan,
    text: bytes,
    *,
    folder: Path,
    runs: Path,
    run: str | None,
    as_json: bool,
    address: str | None = None,
    follow: bool = True,
) -> NoReturn:
    """Run a job or a sweep to its end, print what came out, and end with its exit status."""
    from certify.runs.run_dir import RunDir, new_run_id
    from certify.runs.standing import print_json

    run_dir = RunDir(runs, run or new_run_id(plan.name))
    if address is None:
        _carry_out_here(plan, text, folder=folder, run_dir=run_dir, as_json=as_json)
    there = _begin_there(plan, text, folder=folder, run_dir=run_dir, address=address)
    if follow:
        _follow(there, as_json=as_json)
    if as_json:
        print_json(there.record().to_json())
    else:
        typer.echo(run_dir.run)
    raise typer.Exit(0)


def _carry_out_here(
    plan: Plan, text: bytes, *, folder: Path, run_dir: "RunDir", as_json: bool
) -> NoReturn:
    from certify.runs.interruption import stoppable
    from certify.runs.standing import command
    from certify.submitting.here import run_here

    with stoppable(f"continue with: {command('resume', run_dir)}"):
        summary = run_here(plan, text, folder=folder, run_dir=run_dir)
    _end(summary, run_dir, as_json=as_json)


def _begin_there(
    plan: Plan, text: bytes, *, folder: Path, run_dir: "RunDir", address: str
) -> "There":
    """Hand a job or a sweep to a cluster, and say what can be asked of it now."""
    from certify.runs.standing import command
    from certify.submitting.remote import begin_there

    there = begin_there(plan, text, folder=folder, run_dir=run_dir, address=address)
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
    if record.status == "SUCCEEDED" or record.verdict == "refuted":
        batch = there.dir.has("evaluation.json")
        found = there.dir.read_json("evaluation.json" if batch else "summary.json")
        _end(found, there.dir, as_json=as_json)
    typer.echo(f"error: {in_one_line(record)}", err=True)
    raise typer.Exit(record.exit_status or 0)


def _end(summary: dict[str, Any], run_dir: "RunDir", *, as_json: bool) -> NoReturn:
    from certify.runs.outcome import exit_status, print_summary

    print_summary(summary, run_dir, as_json=as_json)
    raise typer.Exit(exit_status(summary))
