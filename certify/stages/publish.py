"""What leaves a run: the sealed file with its certificate, and the summary with its page."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from certify.runs.run import Run
from certify.runs.run_dir import RunDir
from certify.stages import proving, refutation
from certify.stages.training import history_of
from models.certificate_format import DOMAIN, FORMAT, NORM, SEMANTICS, model_metadata
from models.errors import JobError
from reports.changes import Searched
from reports.page import render_page
from reports.pictures import rows_to_show
from reports.results import Results, breaks_of
from reports.summary import summarise
from workers import certification

PICTURES = pa.schema(
    [("row", pa.int64()), ("shape", pa.list_(pa.int64())), ("pixels", pa.list_(pa.float32()))]
)


def seal(run: Run) -> None:
    """The file that ships and what it is certified for; a refuted model does not ship."""
    if run.dir.read_json(refutation.SOUNDNESS)["violations"]:
        return
    test, bounds = run.dataset.test, run.dir.read_json(proving.BOUNDS)
    certificates = run.dir.read_table(proving.CERTIFICATES)
    with run.follow("seal", total=len(test), unit="examples compared") as progress:
        metadata = model_metadata(
            classes=run.dataset.classes,
            lipschitz_bound=bounds["lipschitz_bound"],
            job_sha256=run.job.sha256(),
            program_sha256=bounds["program_sha256"],
        )
        model, measured = certification.seal_file(
            run.dir.read(proving.NETWORK), bounds, test, certificates, metadata=metadata
        )
        run.dir.write("model.onnx", model)
        certificate = {
            "format": FORMAT,
            "name": run.job.name,
            "model_sha256": hashlib.sha256(model).hexdigest(),
            "program_sha256": bounds["program_sha256"],
            "data_sha256": test.sha256(),
            "job_sha256": run.job.sha256(),
            "certificates_sha256": hashlib.sha256(run.dir.read(proving.CERTIFICATES)).hexdigest(),
            "bounds_sha256": hashlib.sha256(run.dir.read(proving.BOUNDS)).hexdigest(),
            "norm": NORM,
            "domain": DOMAIN,
            "input_shape": list(run.dataset.input_shape),
            "classes": list(run.dataset.classes),
            "semantics": SEMANTICS,
            "lipschitz_bound": bounds["lipschitz_bound"],
            "feature_bound": bounds["feature_bound"],
            "pair_bounds": bounds["pair_bounds"],
            "refused_float32": bounds["refused_float32"],
            "assumptions": bounds["assumptions"],
            "sealed_radius": measured,
            "counts": _counts(certificates, run.job.eps),
        }
        if run.dir.has(proving.IMPORT):
            certificate["source_sha256"] = run.dir.read_json(proving.IMPORT)["sha256"]
        run.dir.write_json("certificate.json", certificate)
        progress.advance(len(test))


def report(run: Run) -> None:
    """The summary, the images that the page shows, and the page."""
    certificates = run.dir.read_table(proving.CERTIFICATES)
    attacks = run.dir.read_table(proving.ATTACKED)
    at_radius = run.dir.read_table(proving.RADIUS_ATTACKED)
    found = {
        "run": run.dir.run,
        "certificates": certificates,
        "attacks": attacks,
        "radius_attacks": at_radius,
        "eps": run.job.eps,
        "lipschitz_bound": run.dir.read_json(proving.BOUNDS)["lipschitz_bound"],
        "violations": run.dir.read_json(refutation.SOUNDNESS)["violations"],
        "seconds": {
            stage: seconds for stage, seconds in run.seconds().items() if stage != "report"
        },  # a page cannot know how long it takes: made again, it is the same
        "searched": _searched(run.dir),
    }
    refuted = found["violations"] > 0
    ungated = summarise(verdict="refuted" if refuted else "passed", gates=[], **found)
    gates = [gate.judge(ungated) for gate in run.job.parsed_gates()]
    verdict = "passed" if all(gate["passed"] for gate in gates) else "gate_failed"
    summary = summarise(verdict="refuted" if refuted else verdict, gates=gates, **found)
    rows = np.array(
        rows_to_show(certificates, breaks_of(at_radius, attacks, found["searched"])),
        dtype=np.int64,
    )
    run.dir.write_table("pictures.parquet", _pictures(run.dataset.test.take(rows).inputs(), rows))
    run.dir.write_json("summary.json", summary)
    run.dir.write("report.html", render_page(results_of(run.dir)))


def results_of(run_dir: RunDir) -> Results:
    """What the page is made of, from a run's artefacts alone.

    Raises:
        JobError: If there is no such run, or it has not ended.
    """
    if run_dir.has("evaluation.json"):
        rows = run_dir.where("rows")
        raise JobError(f"a batch evaluation has no report; what it gives is in {rows}")
    if not run_dir.has("summary.json"):
        raise JobError(
            f"no report can be made of {run_dir.where()}; accepted is a run that has ended"
        )
    pictures = run_dir.read_table("pictures.parquet").to_pylist()
    certificate = "certificate.json"
    return Results(
        job=run_dir.read_json("job.json"),
        classes=tuple(run_dir.read_json("data.json")["classes"]),
        certificates=run_dir.read_table(proving.CERTIFICATES),
        attacks=run_dir.read_table(proving.ATTACKED),
        radius_attacks=run_dir.read_table(proving.RADIUS_ATTACKED),
        bounds=run_dir.read_json(proving.BOUNDS),
        summary=run_dir.read_json("summary.json"),
        images={
            picture["row"]: np.array(picture["pixels"], dtype=np.float32).reshape(picture["shape"])
            for picture in pictures
        },
        history=history_of(run_dir),
        environment=run_dir.read_json("environment.json"),
        certificate=run_dir.read_json(certificate) if run_dir.has(certificate) else {},
        searched=_searched(run_dir),
    )


def _searched(run_dir: RunDir) -> Searched | None:
    """What was looked for beside attacks at an ε; nothing in a run of before that was done."""
    if not run_dir.has(refutation.MASKING):
        return None
    return Searched(
        perturbations=run_dir.read_table(refutation.PERTURBED),
        stretches=run_dir.read_table(refutation.STRETCHED),
        masking=run_dir.read_json(refutation.MASKING),
    )


def _counts(certificates: pa.Table, eps: tuple[float, ...]) -> list[dict[str, Any]]:
    """Examples, correct ones, and correct ones whose radius exceeds each ε."""
    correct = pc.equal(certificates["label"], certificates["prediction"])

    def beyond(column: str, budget: float) -> int:
        return int(pc.sum(pc.and_(correct, pc.greater(certificates[column], budget))).as_py() or 0)

    return [
        {
            "eps": budget,
            "examples": len(certificates),
            "correct": int(pc.sum(correct).as_py()),
            "certified": beyond("radius", budget),
            "certified_float32": beyond("radius_float32", budget),
        }
        for budget in eps
    ]


def _pictures(images: np.ndarray, rows: np.ndarray) -> pa.Table:
    columns = {
        "row": rows,
        "shape": [list(image.shape) for image in images],
        "pixels": [image.ravel() for image in images],
    }
    return pa.table(columns, schema=PICTURES)
