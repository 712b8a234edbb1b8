"""Commands before and after a run: a job to start from, the installation, the report again."""

from pathlib import Path
from typing import Annotated

import typer

from certify.commands.options import AsJson, JobFile, RunsFolder


def init(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Images: a folder, .npz or Parquet; digits if left out."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Job file to write.")] = Path("job.toml"),
) -> None:
    """Write a commented job file to start from."""
    import shlex

    from certify.jobs.template import job_template, write_new

    write_new(out, job_template(data, beside=out.parent))
    typer.echo(out)
    typer.echo(f"check it with: certify submit {shlex.quote(str(out))} --dry-run", err=True)


def model(job_file: JobFile, as_json: AsJson = False) -> None:
    """Say what a job's network is made of: layers, parameters, operations, memory."""
    from certify.jobs.job import load_job
    from certify.submitting.modelling import describe_model, model_text

    description = describe_model(load_job(job_file), folder=job_file.parent)
    typer.echo(model_text(description, as_json=as_json))


def doctor(runs: RunsFolder = Path("runs"), as_json: AsJson = False) -> None:
    """Say what this installation has, and what is wrong with it."""
    from certify.doctor import examine, print_examination

    findings = examine(runs)
    print_examination(findings, as_json=as_json)
    if findings["faults"]:
        raise typer.Exit(1)


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run that has ended.")],
    runs: RunsFolder = Path("runs"),
) -> None:
    """Make the report of a run again, from its artefacts alone."""
    from certify.runs.kinds import is_sweep, refuse_trial
    from certify.runs.records import find_run
    from certify.stages.publish import results_of
    from certify.stages.sweep import sweep_report
    from reports.page import render_page

    run_dir = find_run(runs, run)
    refuse_trial(run_dir)
    page = sweep_report(run_dir) if is_sweep(run_dir) else render_page(results_of(run_dir))
    run_dir.write("report.html", page)
    typer.echo(run_dir.where("report.html"))
