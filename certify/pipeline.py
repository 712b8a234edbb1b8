"""The story of a job: train, export, prove, certify, attack, check, seal, report."""

from collections.abc import Callable
from typing import Any

from certify import publish, stages
from certify.run import Run

STORY: tuple[tuple[str, str | None, Callable[[Run], None]], ...] = (
    ("train", stages.WEIGHTS, stages.train),
    ("export", stages.NETWORK, stages.export),
    ("prove", stages.BOUNDS, stages.prove),
    ("certify", stages.CERTIFICATES, stages.certify),
    ("attack", stages.ATTACKED, stages.attack),
    ("check", stages.SOUNDNESS, stages.check),
    ("seal", "certificate.json", publish.seal),
    ("report", None, publish.report),
)
"""Each stage, the artefact that shows that it is done, and what does it; a report is always made
anew, since its gates may have changed."""


def run_job(run: Run) -> dict[str, Any]:
    """Run every stage that has not been done yet.

    Returns:
        The summary; its verdict is `passed`, `gate_failed` or `refuted`.

    Raises:
        CertifyError: If a stage fails; what the stages before it gave stays.
    """
    with run.watched():
        for name, artefact, stage in STORY:
            if artefact is None or not run.dir.has(artefact):
                with run.recorded(name):
                    stage(run)
        summary: dict[str, Any] = run.dir.read_json("summary.json")
        reason = None
        if summary["verdict"] == "refuted":
            reason = run.dir.read_json(stages.SOUNDNESS)["deepest"]
        run.note(
            "SUCCEEDED" if reason is None else "FAILED", verdict=summary["verdict"], reason=reason
        )
    return summary
