"""Where runs stand, as a table, a line or JSON."""

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from certify.runs.records import Record
from certify.runs.run_dir import RunDir


def print_json(value: Any) -> None:
    """Print for a program."""
    print(json.dumps(value, indent=2, ensure_ascii=False))  # noqa: T201


def print_records(records: Iterable[Record]) -> None:
    """Print a row a run."""
    table = Table(show_edge=False, pad_edge=False)
    for column in ("run", "status", "stage", "verdict"):
        table.add_column(column, no_wrap=True)
    table.add_column("reason", overflow="fold")
    for record in records:
        reason = (record.reason or "").partition("\n")[0]
        table.add_row(record.run, record.status, how_far(record), record.verdict or "", reason)
    Console().print(table, markup=False, highlight=False)


def in_one_line(record: Record) -> str:
    """Where a run stands, in a line."""
    parts = (record.status, how_far(record), record.verdict, record.reason)
    return f"{record.run}: {', '.join(part for part in parts if part)}"


def how_far(record: Record) -> str:
    """The stage, and how much of it is done."""
    if record.stage is None or record.progress is None:
        return record.stage or ""
    done, total, unit = (record.progress.get(key, "") for key in ("done", "total", "unit"))
    return f"{record.stage} {done}/{total} {unit}"


def command(verb: str, run_dir: RunDir) -> str:
    """What to type about a run."""
    runs = run_dir.runs if run_dir.shared else str(run_dir.path.parent)
    return f"certify {verb} {run_dir.run}" + ("" if runs == "runs" else f" --runs {runs}")
