"""An audit of a run, told to a person or a program."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.audit.audit import NOT_CHECKED, Check
from models.errors import JobError


def run_folder(run: str, runs: Path) -> Path:
    """The folder that holds the certificate: of a path, or of a run's id.

    Raises:
        JobError: If there is none.
    """
    for path in (Path(run), runs / run):
        if path.name == "certificate.json" and path.is_file():
            return path.parent
        if path.is_dir():
            return path
    raise JobError(f"{run} is no run; accepted are a run id, its folder or its certificate.json")


def print_audit(checks: list[Check], *, as_json: bool) -> None:
    """Print every check, then the verdict."""
    partly = any(check.verdict == NOT_CHECKED for check in checks)
    verdict = "holds as far as it was checked" if partly else "holds"
    if as_json:
        found = {"verdict": verdict, "checks": [check.to_json() for check in checks]}
        print(json.dumps(found, indent=2))  # noqa: T201
        return
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    for check in checks:
        table.add_row(check.name, check.verdict, check.figure)
    console = Console()
    console.print(table)
    console.print(f"the certificate {verdict}", highlight=False, soft_wrap=True)
