"""An audit of a run, told to a person or a program."""

import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from certify.jobs.job import JobSpec, load_job
from certify.runs.kinds import SWEEP, TRIAL
from certify.submitting.evaluation import data_keys
from models.audit.audit import NOT_CHECKED, Check, Sample
from models.audit.images import Images
from models.errors import CertifyError, JobError, VerificationError
from models.model_spec import OnnxSpec
from models.spec import DataSpec
from workers.storage.places import is_url

UNCERTIFIED = {
    "evaluation.json": "a batch evaluation, whose radii stand in its rows",
    SWEEP: "a sweep, whose best job is still to be run and certified",
    TRIAL: "a trial of a sweep, which is judged on validation images",
}
"""What never holds a certificate, by a file that only it has."""


def run_folder(run: str, runs: Path) -> Path:
    """The folder that holds the certificate: of a path, or of a run's id.

    Raises:
        JobError: If there is none.
    """
    if is_url(run) or is_url(runs):
        raise JobError(
            "an audit reads the files of a run from a disk; accepted is a copy of its folder here"
        )
    for path in (Path(run), runs / run):
        if path.name == "certificate.json" and path.is_file():
            return path.parent
        if path.is_dir():
            _refuse_uncertified(path)
            return path
    raise JobError(f"{run} is no run; accepted are a run id, its folder or its certificate.json")


def _refuse_uncertified(folder: Path) -> None:
    """Refuse a folder that never held a certificate; one that lost it fails the audit.

    Raises:
        JobError: With what the folder is.
    """
    if (folder / "certificate.json").exists():
        return
    found = next((words for name, words in UNCERTIFIED.items() if (folder / name).exists()), None)
    if found is None:
        try:
            status = json.loads((folder / "state.json").read_bytes())["status"]
        except (OSError, LookupError, TypeError, ValueError):
            status = None
        if status == "SUCCEEDED":
            return
        found = "a folder of other files" if status is None else f"a run that is {status}"
    raise JobError(
        f"{folder} holds no certificate.json: it is {found}; accepted is a certified run"
    )


def drawn_sample(rows: int | None, seed: int | None) -> Sample | None:
    """Rows to recompute: drawn from the system's entropy, unless a draw is to be repeated.

    Raises:
        JobError: If there is a seed and nothing to draw.
    """
    if rows is None:
        if seed is not None:
            raise JobError("--seed is of the draw of --sample; accepted are both, or neither")
        return None
    return Sample(rows, secrets.randbits(32) if seed is None else seed)


def images_of(run: Path, data: str | None) -> Images | None:
    """The test part that a run's certificate speaks of.

    Args:
        run: its folder.
        data: a job file, a path or the name of built-in data; None for the data of the run's job.

    Returns:
        None where the run's own job finds no data from here.

    Raises:
        DataError: If the data that was given cannot be read.
    """
    job = _job_of(run)
    if job is None:
        return None
    if data is None:
        try:
            return _test_part(job, run, job.data, folder=Path(), named=True)
        except CertifyError:
            return None
    if Path(data).suffix == ".toml":
        asked = load_job(Path(data))
        job = job.model_copy(update={"seed": asked.seed})
        return _test_part(job, run, asked.data, folder=Path(data).parent, named=True)
    keys: dict[str, Any] = {"validation": job.data.validation, "test": job.data.test}
    keys |= data_keys(data, None)
    named = keys["source"] == job.data.source
    if named:
        keys["label_column"] = job.data.label_column
    return _test_part(job, run, DataSpec.model_validate(keys), folder=Path(), named=named)


def _job_of(run: Path) -> JobSpec | None:
    """The job of a run; None where there is none, which the audit itself will say.

    Raises:
        VerificationError: If it is a job that nobody can have run.
    """
    try:
        return JobSpec.model_validate_json((run / "job.json").read_bytes())
    except OSError:
        return None
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise VerificationError(f"files: job.json is no job: {place}: {fault['msg']}") from None


def _test_part(
    job: JobSpec, run: Path, spec: DataSpec, *, folder: Path, named: bool
) -> Images | None:
    """The part that is certified, by the rules of a job; named if its classes have their names."""
    from workers.data import load_data
    from workers.evaluation_data import load_test_images

    if isinstance(job.model, OnnxSpec):
        try:
            logits = len(json.loads((run / "certificate.json").read_bytes())["classes"])
        except (OSError, LookupError, TypeError, ValueError, RecursionError):
            return None  # the audit says what is wrong with it
        found = load_test_images(spec, folder=folder, logits=logits, classes=job.model.classes)
    else:
        found = load_data(spec, seed=job.seed, folder=folder)
    test = found.test
    numbered = found.classes == tuple(str(label) for label in range(len(found.classes)))
    return Images(
        test.images,
        test.labels,
        test.indices,
        None if numbered and not named else found.classes,
        spec.source if spec.path is None else str(folder / spec.path),
    )


def report_audit(checks: Iterable[Check], *, as_json: bool, allow_unchecked: bool) -> None:
    """Print every check as far as it holds, then the verdict.

    Raises:
        VerificationError: Naming the first thing that does not hold, or that was not checked.
    """
    done: list[Check] = []
    fault = None
    try:
        done.extend(checks)
    except VerificationError as error:
        fault = str(error)
    unchecked = [check for check in done if check.verdict == NOT_CHECKED]
    verdict = "holds as far as it was checked" if unchecked else "holds"
    if fault is not None:
        verdict = "does not hold"
    elif unchecked and not allow_unchecked:
        names = "; ".join(f"{check.name} ({check.figure})" for check in unchecked)
        fault = f"not checked: {names}; --allow-unchecked accepts that"
    _print(done, verdict, fault, as_json=as_json)
    if fault is not None:
        raise VerificationError(fault)


def _print(done: list[Check], verdict: str, fault: str | None, *, as_json: bool) -> None:
    if as_json:
        checks = [check.to_json() for check in done]
        print(json.dumps({"verdict": verdict, "fault": fault, "checks": checks}, indent=2))  # noqa: T201
        return
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    for check in done:
        table.add_row(check.name, check.verdict, check.figure)
    console = Console()
    if done:
        console.print(table)
    console.print(f"the certificate {verdict}", highlight=False, soft_wrap=True)
