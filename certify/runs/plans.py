"""What a run began with, a job or a sweep of jobs, and that its folder belongs to no other."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from certify.jobs.job import JobSpec
from certify.jobs.sweep import Plan, Sweep, check_sweep
from certify.runs.kinds import SWEEP, is_sweep, refuse_trial
from certify.runs.run_dir import RunDir
from models.errors import JobError

JOB = "job.json"
"""Of a job: the job itself, resolved."""
NONE = "nothing"
"""Found or stored, of a key that is left out."""


def stored_plan(run_dir: RunDir) -> Plan:
    """The job or the sweep that a run began with.

    Raises:
        JobError: If it is not there or damaged.
    """
    return stored_sweep(run_dir) if is_sweep(run_dir) else stored_job(run_dir)


def stored_job(run_dir: RunDir) -> JobSpec:
    """The resolved job that a run began with.

    Raises:
        JobError: If it is not there or damaged.
    """
    try:
        return JobSpec.model_validate_json(run_dir.read(JOB))
    except (OSError, ValueError):
        place = run_dir.where(JOB)
        raise JobError(f"{place} cannot be read; submit the job under another id") from None


def stored_sweep(run_dir: RunDir) -> Sweep:
    """The sweep that a run began with.

    Raises:
        JobError: If it is not there or damaged.
    """
    try:
        return check_sweep(json.loads(run_dir.read(SWEEP)), place=run_dir.where(SWEEP))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        place = run_dir.where(SWEEP)
        raise JobError(f"{place} cannot be read; submit the sweep under another id") from None


def check_same(run_dir: RunDir, plan: Plan) -> None:
    """Make sure that a folder is empty, or belongs to a plan that gives the same result.

    Raises:
        JobError: If it holds another one, one of the other kind, or a trial.
    """
    refuse_trial(run_dir)
    if is_sweep(run_dir) and isinstance(plan, JobSpec):
        raise JobError(f"run {run_dir.run} exists as a sweep; accepted is another id")
    if run_dir.has(JOB) and isinstance(plan, Sweep):
        raise JobError(f"run {run_dir.run} exists as a single job; accepted is another id")
    if is_sweep(run_dir) or run_dir.has(JOB):
        refuse_other(run_dir, plan)


def refuse_other(run_dir: RunDir, plan: Plan) -> None:
    """Refuse a plan where the folder holds one that gives another result.

    Raises:
        JobError: If it does, with the first key that differs.
    """
    before = stored_plan(run_dir)
    if before.sha256() != plan.sha256():
        kind = "sweep" if isinstance(plan, Sweep) else "job"
        found, stored = dict(_values(plan.decisive())), dict(_values(before.decisive()))
        key = next(
            key for key in [*found, *stored] if found.get(key, NONE) != stored.get(key, NONE)
        )
        raise JobError(
            f"run {run_dir.run} exists with another {kind}: {key}: found {found.get(key, NONE)}, "
            f"stored is {stored.get(key, NONE)}; accepted is the same {kind}, or another id"
        )


def _values(table: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, str]]:
    """Every value below a table in words, by its dotted key."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _values(value, f"{inside}{key}.")
        else:
            yield inside + key, NONE if value is None else json.dumps(value, ensure_ascii=False)
