"""An audit of a run, told to a person or a program."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.audit.audit import NOT_CHECKED, Check
from models.audit.documents import Images
from models.errors import CertifyError, JobError
from models.spec import DataSpec


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


def images_of(run: Path) -> Images | None:
    """The data of a run's own job, where it can be found from here; None where it cannot."""
    from workers.data import load_data
    from workers.evaluation_data import load_test_images

    try:
        job = json.loads((run / "job.json").read_text(encoding="utf-8"))
        certificate = json.loads((run / "certificate.json").read_text(encoding="utf-8"))
        spec, here = DataSpec.model_validate(job["data"]), Path()
        if job["model"]["architecture"] == "onnx":
            names = job["model"]["classes"]
            test = load_test_images(
                spec,
                folder=here,
                logits=len(certificate["classes"]),
                classes=names and tuple(names),
            ).test
        else:
            test = load_data(spec, seed=job["seed"], folder=here).test
    except (CertifyError, OSError, LookupError, TypeError, ValueError):
        return None
    return test.images, test.labels, test.indices


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
