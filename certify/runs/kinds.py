"""Runs that are no single job: a sweep, and the trials of it, told apart by a file of each."""

from certify.runs.run_dir import RunDir
from models.errors import JobError

SWEEP = "sweep.json"
"""Of a sweep: the sweep itself."""
TRIAL = "trial.json"
"""Of a trial: its sweep, its number and its values."""


def is_sweep(run_dir: RunDir) -> bool:
    """Whether a run is a sweep."""
    return run_dir.has(SWEEP)


def refuse_trial(run_dir: RunDir) -> None:
    """Refuse a trial, where only its sweep can be acted on.

    Raises:
        JobError: With the sweep's id.
    """
    if run_dir.has(TRIAL):
        found = run_dir.read_json(TRIAL)
        raise JobError(
            f"run {run_dir.run} is trial {found.get('trial')} of a sweep; accepted is that sweep, "
            f"{found.get('sweep')}"
        )
