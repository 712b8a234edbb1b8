"""The story of a job: train, export, prove, certify, attack, search, check, seal, report.

A model that was trained elsewhere is imported, and its story is the same from there on.
"""

from collections.abc import Callable
from typing import Any

from certify.runs.run import Run
from certify.stages import evaluation, proving, publish, refutation, training
from models.model_spec import OnnxSpec

Stage = tuple[str, str | None, Callable[[Run], None]]
"""A name, the artefact that shows that it is done, and what does it."""

TRAINED: tuple[Stage, ...] = (
    ("train", training.WEIGHTS, training.train),
    ("export", proving.NETWORK, proving.export),
)
FOREIGN: tuple[Stage, ...] = (("import", proving.NETWORK, proving.import_network),)
CERTIFIED: tuple[Stage, ...] = (
    ("prove", proving.BOUNDS, proving.prove),
    ("certify", proving.CERTIFICATES, proving.certify),
    ("attack", proving.ATTACKED, proving.attack),
    ("search", refutation.PERTURBED, refutation.search),
    ("stretch", refutation.STRETCHED, refutation.stretch),
    ("masking", refutation.MASKING, refutation.look_for_masking),
    ("check", refutation.SOUNDNESS, refutation.check),
    ("seal", "certificate.json", publish.seal),
    ("report", None, publish.report),
)
"""What every network goes through; a report is always made anew, since its gates may have
changed."""
EVALUATED: tuple[Stage, ...] = (
    *FOREIGN,
    ("prove", proving.BOUNDS, proving.prove),
    ("evaluate", evaluation.EVALUATION, evaluation.evaluate),
)
"""A batch evaluation attacks nothing, so it ends without a verdict."""


def run_job(run: Run) -> dict[str, Any]:
    """Run every stage that has not been done yet.

    Returns:
        The summary; its verdict is `passed`, `gate_failed` or `refuted`, and of a batch evaluation
        None.

    Raises:
        CertifyError: If a stage fails; what the stages before it gave stays.
    """
    beginning = FOREIGN if isinstance(run.job.model, OnnxSpec) else TRAINED
    story = EVALUATED if run.job.evaluate else (*beginning, *CERTIFIED)
    for name, artefact, stage in story:
        if artefact is None or not run.dir.has(artefact):
            with run.recorded(name):
                stage(run)
    if run.job.evaluate:
        run.note("SUCCEEDED", exit_status=0)
        found: dict[str, Any] = run.dir.read_json(evaluation.EVALUATION)
        return found
    summary: dict[str, Any] = run.dir.read_json("summary.json")
    reason = None
    if summary["verdict"] == "refuted":
        reason = run.dir.read_json(refutation.SOUNDNESS)["deepest"]
    run.note("SUCCEEDED" if reason is None else "FAILED", verdict=summary["verdict"], reason=reason)
    return summary
