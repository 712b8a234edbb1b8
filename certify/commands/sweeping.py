"""What `submit` and `resume` do with a sweep."""

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from certify.jobs.sweep import Sweep
from models.errors import JobError

if TYPE_CHECKING:
    from certify.runs.run_dir import RunDir


def sweep(
    plan: Sweep,
    file: Path,
    *,
    runs: Path,
    run: str | None,
    dry_run: bool,
    address: str | None,
    as_json: bool,
) -> NoReturn:
    """Run a sweep to its end, or check it, and end with its exit status."""
    from certify.runs.run_dir import RunDir, new_run_id

    folder = file.parent
    if dry_run:
        from certify.submitting.sweeping import rehearse_sweep

        typer.echo(f"{file}: in order; {rehearse_sweep(plan, folder)}")
        raise typer.Exit(0)
    run_dir = RunDir(runs, run or new_run_id(plan.example.name))
    _carry_out(
        plan, file.read_bytes(), folder=folder, run_dir=run_dir, address=address, as_json=as_json
    )


def resume_sweep(run_dir: "RunDir", *, address: str | None, as_json: bool) -> NoReturn:
    """Continue a sweep: no finished trial is made again."""
    from certify.runs.origin import read_origin
    from certify.submitting.sweeping import stored_sweep

    text = run_dir.read("job.toml") if run_dir.has("job.toml") else b""
    _carry_out(
        stored_sweep(run_dir),
        text,
        folder=read_origin(run_dir).folder,
        run_dir=run_dir,
        address=address,
        as_json=as_json,
    )


def _carry_out(
    plan: Sweep,
    text: bytes,
    *,
    folder: Path,
    run_dir: "RunDir",
    address: str | None,
    as_json: bool,
) -> NoReturn:
    from certify.runs.outcome import print_sweep
    from certify.submitting.here import continuable
    from certify.submitting.sweeping import sweep_here

    if address is not None:
        raise JobError("--address is not accepted with a sweep; its trials run on this machine")
    with continuable(run_dir):
        summary = sweep_here(plan, text, folder=folder, run_dir=run_dir)
    print_sweep(summary, report=run_dir.where("report.html"), as_json=as_json)
    raise typer.Exit(0)
