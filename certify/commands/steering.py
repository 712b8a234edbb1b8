"""Commands that act on a run that is there."""

from pathlib import Path
from typing import Annotated

import typer

from certify.commands.options import Address, AsJson, RunName, RunsFolder


def stop(
    run: RunName,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Ask, and do not wait for the end.")
    ] = False,
    runs: RunsFolder = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Stop a run: the shard at hand is finished, and all results are kept."""
    from certify.runs.history import changes
    from certify.runs.kinds import refuse_trial
    from certify.runs.records import find_run, read_record
    from certify.runs.standing import in_one_line, print_json
    from certify.runs.steering import ask_to_stop

    run_dir = find_run(runs, run)
    refuse_trial(run_dir)
    ask_to_stop(run_dir)
    if no_wait:
        record = read_record(run_dir)
    else:
        typer.echo("it stops after the shard at hand", err=True)
        *_, record = changes(run_dir)
    if as_json:
        print_json(record.to_json())
    else:
        typer.echo(in_one_line(record))


def resume(
    run: RunName,
    address: Address = None,
    here: Annotated[
        bool, typer.Option("--here", help="On this machine, whatever it was begun on.")
    ] = False,
    runs: RunsFolder = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Continue a run that was stopped or whose process died, where it was begun."""
    from certify.commands.running import carry_out
    from certify.runs.kinds import refuse_trial
    from certify.runs.origin import read_origin
    from certify.runs.plans import stored_plan
    from certify.runs.records import find_run, read_record
    from certify.runs.standing import in_one_line
    from models.errors import JobError

    run_dir = find_run(runs, run)
    refuse_trial(run_dir)
    record = read_record(run_dir)
    if record.live or record.verdict != "incomplete":
        typer.echo(f"{in_one_line(record)}; nothing is left to resume", err=True)
        raise typer.Exit(record.exit_status or 0)
    plan, begun = stored_plan(run_dir), read_origin(run_dir)
    if not (here or address or begun.near):  # a run's folder may be somebody else's
        raise JobError(
            f"run {run} was begun on {begun.address}; accepted are --address URL, of a cluster "
            "that may see your token, and --here"
        )
    carry_out(
        plan,
        run_dir.read("job.toml") if run_dir.has("job.toml") else b"",
        folder=begun.folder,
        runs=runs,
        run=run,
        as_json=as_json,
        address=None if here else address or begun.address,
    )


def delete(run: RunName, runs: RunsFolder = Path("runs")) -> None:
    """Delete a run that has ended, with all its artefacts."""
    from certify.runs.records import find_run
    from certify.runs.steering import delete_run

    run_dir = find_run(runs, run)
    delete_run(run_dir)
    typer.echo(run_dir.where())
