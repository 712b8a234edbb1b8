"""Where runs stand, as a table, a line or JSON."""

import json
import shlex
from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from certify.runs.records import Record
from certify.runs.run_dir import RunDir

INDENT = "    "
"""Before a reason that has lines of its own."""
LEAST_ROOM = 20
"""Columns of such a line, however narrow a terminal says that it is."""


def print_json(value: Any) -> None:
    """Print for a program."""
    print(json.dumps(value, indent=2, ensure_ascii=False))  # noqa: T201


def print_records(records: Iterable[Record]) -> None:
    """Print a line a run; in a terminal too narrow for a reason, that has lines of its own."""
    rows = [
        (record.run, record.status, how_far(record), record.verdict or "", _brief(record))
        for record in records
    ]
    rows.insert(0, ("run", "status", "stage", "verdict", "reason"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    console = Console()
    for *told, reason in rows:
        cells = [cell.ljust(width) for cell, width in zip(told, widths, strict=False)]
        line = "  ".join([*cells, reason]).rstrip()
        if reason and console.is_terminal and cell_len(line) > console.width:
            line = "  ".join(cells).rstrip()
            room = max(console.width - len(INDENT), LEAST_ROOM)
            for part in Text(reason).wrap(console, room):
                line += f"\n{INDENT}{part.plain.rstrip()}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def in_one_line(record: Record) -> str:
    """Where a run stands, in a line."""
    parts = (record.status, how_far(record), record.verdict, record.reason)
    return f"{record.run}: {', '.join(part for part in parts if part)}"


def _brief(record: Record) -> str:
    """The first line of its reason."""
    return (record.reason or "").partition("\n")[0]


def how_far(record: Record) -> str:
    """The stage, and how much of it is done."""
    if record.stage is None or record.progress is None:
        return record.stage or ""
    done, total, unit = (record.progress.get(key, "") for key in ("done", "total", "unit"))
    return f"{record.stage} {done}/{total} {unit}"


def command(verb: str, run_dir: RunDir) -> str:
    """What to type about a run."""
    runs = run_dir.runs if run_dir.shared else str(run_dir.path.parent)
    return shlex.join(["certify", verb, run_dir.run, *([] if runs == "runs" else ["--runs", runs])])
