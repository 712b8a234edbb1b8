"""Commands that say how runs go: from the runs' own records, without torch and without Ray."""

from pathlib import Path
from typing import Annotated

import typer

from certify.commands.options import AsJson, RunName, RunsFolder


def list_runs(runs: RunsFolder = Path("runs"), as_json: AsJson = False) -> None:
    """List all runs: how they stand, what became of them."""
    from certify.runs.records import all_records
    from certify.runs.standing import print_json, print_records

    records = all_records(runs)
    if as_json:
        print_json([record.to_json() for record in records])
    elif records:
        print_records(records)
    else:
        typer.echo(f"no runs in {runs}", err=True)


def status(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Id of a run; the latest if left out.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until the run has ended.")] = False,
    runs: RunsFolder = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Say where a run stands."""
    from certify.runs.history import changes
    from certify.runs.records import all_records, find_run, read_record
    from certify.runs.standing import in_one_line, print_json
    from models.errors import JobError

    if run is None:
        records = all_records(runs)
        if not records:
            raise JobError(f"no runs in {runs}")
        run = records[-1].run
    run_dir = find_run(runs, run)
    for record in changes(run_dir) if watch else [read_record(run_dir)]:
        if as_json:
            print_json(record.to_json())
        else:
            typer.echo(in_one_line(record))


def logs(
    run: RunName,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the run has ended.")
    ] = False,
    stage: Annotated[
        str | None, typer.Option("--stage", help="One stage alone, as attack.")
    ] = None,
    runs: RunsFolder = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Print what has happened to a run; with --json a line of JSON to an event."""
    import json

    from certify.runs.history import events, in_words
    from certify.runs.records import find_run

    for event in events(find_run(runs, run), follow=follow):
        if stage is None or event.get("stage") == stage:
            typer.echo(json.dumps(event, ensure_ascii=False) if as_json else in_words(event))


def wait(run: RunName, runs: RunsFolder = Path("runs"), as_json: AsJson = False) -> None:
    """Wait until a run has ended, and end with its exit status."""
    from certify.runs.history import changes
    from certify.runs.records import find_run
    from certify.runs.standing import in_one_line, print_json

    *_, record = changes(find_run(runs, run))
    if as_json:
        print_json(record.to_json())
    else:
        typer.echo(in_one_line(record))
    raise typer.Exit(record.exit_status or 0)
