"""A sweep: one job file with a table `[sweep]`, and many jobs that it stands for.

All that can be wrong with any of them is said before anything starts.
"""

import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveInt, ValidationError

from certify.jobs.faults import told
from certify.jobs.job import JobSpec, check_job
from certify.jobs.keys import read_keys
from certify.jobs.space import Axis, Values, axes_of, grid, size
from models.errors import JobError
from models.model_spec import OnnxSpec
from models.spec import Eps, Spec

MOST_COMBINATIONS = 4096
"""That are checked before a sweep starts."""
STREAM = 3
"""Of random numbers, apart from those that split the data."""


class SweepSpec(Spec):
    """How the trials of a sweep are chosen and judged."""

    method: Literal["grid", "random", "optuna"] = "grid"
    """Every combination, a seeded choice of them, or Optuna's choice, which learns as it goes."""
    eps: Eps | None = None
    """Budget of the certified accuracy that counts, one of `certify.eps`; the middle one if left
    out."""
    trials: PositiveInt | None = None
    """How many; of `grid` all, and so left out."""
    round: PositiveInt | None = None
    """Trials that Optuna proposes together, before it learns from them; 4 if left out."""
    over: dict[str, Any] = Field(default_factory=dict)
    """Lists and ranges, by key of the job."""


@dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Attributes:
        keys: tables and keys of the file, but `sweep`.
        spec: the table `sweep`.
        axes: what is varied, in the order of the keys.
        place: where it comes from, for messages.
    """

    keys: Mapping[str, Any]
    spec: SweepSpec
    axes: list[Axis]
    place: str

    def job(self, values: Values) -> JobSpec:
        """The job of a trial.

        Raises:
            JobError: With every fault.
        """
        keys = deepcopy(dict(self.keys))
        for key, value in values.items():
            *tables, last = key.split(".")
            table = keys
            for name in tables:
                table = table.setdefault(name, {})
                if not isinstance(table, dict):
                    raise JobError(f"{self.place}: {key}: {name} is no table")
            table[last] = value
        return check_job(keys, place=self.place)

    @functools.cached_property
    def example(self) -> JobSpec:
        """One of the jobs, whose data, seed, budgets and resources are those of all."""
        return self.job(next(self.combinations()))

    @property
    def name(self) -> str:
        """That all its jobs have."""
        return self.example.name

    @property
    def eps(self) -> float:
        """The budget at which trials are compared."""
        budgets = self.example.eps
        return budgets[len(budgets) // 2] if self.spec.eps is None else self.spec.eps

    def combinations(self) -> Iterator[Values]:
        """What is checked: all trials, or where they depend on each other the ends of all axes."""
        if self.spec.method == "random":
            return self.drawn()
        return grid(self.axes)

    def drawn(self) -> Iterator[Values]:
        """The random trials: each differs from those before, and depends on seed and place alone.

        They are drawn from raw bits, the one output that NumPy keeps the same between versions.
        """
        seen: set[str] = set()
        found, draw = self.keys.get("seed", 0), 0
        seed = found if isinstance(found, int) and found >= 0 else 0  # else no job is accepted
        while len(seen) < (self.spec.trials or 0):
            bits = np.random.PCG64(np.random.SeedSequence([STREAM, seed, draw]))
            shares = [(int(raw) >> 11) / 2**53 for raw in bits.random_raw(len(self.axes))]
            values = {axis.key: axis.at(u) for axis, u in zip(self.axes, shares, strict=True)}
            draw += 1
            name = json.dumps(values, sort_keys=True, default=str)
            if name not in seen:
                seen.add(name)
                yield values

    def to_json(self) -> dict[str, Any]:
        """What `check_sweep` reads again."""
        return {**self.keys, "sweep": self.spec.model_dump(mode="json")}

    def decisive(self) -> dict[str, Any]:
        """All that decides the result."""
        return {k: v for k, v in self.to_json().items() if k not in ("resources", "gates")}

    def sha256(self) -> str:
        """Hash of all that decides the result."""
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()


Plan = JobSpec | Sweep
"""What a job file asks for."""


def load_plan(path: Path, *, overrides: Iterable[str] = ()) -> Plan:
    """Read and check a job file, which may hold a sweep.

    Args:
        path: a TOML file.
        overrides: `key=value` each, as `read_keys` takes them.

    Raises:
        JobError: With every fault of the file.
    """
    keys = read_keys(path, overrides=overrides)
    if "sweep" in keys:
        return check_sweep(keys, place=str(path))
    return check_job(keys, place=str(path))


def check_sweep(keys: Mapping[str, Any], *, place: str) -> Sweep:
    """The sweep of some tables and keys.

    Args:
        keys: as a job file holds them, `sweep` among them.
        place: where they come from, for messages.

    Raises:
        JobError: With every fault of the sweep, and of every job of it.
    """
    try:
        spec = SweepSpec.model_validate(keys["sweep"])
    except ValidationError as error:
        found = (told(each, place, spec=SweepSpec, table=("sweep",)) for each in error.errors())
        raise JobError("\n".join(found)) from None
    axes, faults = axes_of(spec.over)
    faults += _faults_of_method(spec, axes) if axes else []
    if faults:
        raise JobError("\n".join(f"{place}: {fault}" for fault in faults))
    sweep = Sweep({k: v for k, v in keys.items() if k != "sweep"}, spec, axes, place)
    _check_jobs(sweep)
    return sweep


def _faults_of_method(spec: SweepSpec, axes: list[Axis]) -> Iterator[str]:
    """What does not go with a method."""
    if spec.method == "grid":
        if spec.trials is not None:
            yield f"sweep.trials: found {spec.trials}; a grid has all combinations, leave it out"
        for axis in axes:
            if not hasattr(axis, "values"):
                yield f"sweep.over.{axis.key}: found no steps; accepted is a range with steps"
    elif spec.trials is None:
        yield f"sweep.trials: required with method {spec.method!r}, not found"
    elif spec.trials > size(axes):
        yield f"sweep.trials: found {spec.trials} of {size(axes)} combinations; use the grid"
    if spec.method != "optuna" and spec.round is not None:
        yield f"sweep.round: found {spec.round}; accepted with method 'optuna' alone"
    if spec.method == "optuna" and importlib.util.find_spec("optuna") is None:
        yield (
            "sweep.method: found 'optuna', whose package is not installed (it is in the extra "
            "`sweep`); accepted are 'grid' and 'random'"
        )
    checked = spec.trials if spec.method == "random" else len(list(_first(axes)))
    if (checked or 0) > MOST_COMBINATIONS:
        yield f"sweep: found too many combinations; accepted are {MOST_COMBINATIONS}"


def _first(axes: list[Axis]) -> Iterator[Values]:
    return (values for _, values in zip(range(MOST_COMBINATIONS + 1), grid(axes), strict=False))


def _check_jobs(sweep: Sweep) -> None:
    """Refuse a sweep with a combination that makes no job; each fault is told once."""
    found: dict[str, list[Values]] = {}
    checked = 0
    for values in sweep.combinations():
        checked += 1
        for fault in _faults_of_job(sweep, values):
            found.setdefault(fault, []).append(values)
    lines = [
        fault if len(where) == checked else f"{fault} ({_where(where, checked)})"
        for fault, where in found.items()
    ]
    if lines:
        raise JobError("\n".join(lines))


def _faults_of_job(sweep: Sweep, values: Values) -> list[str]:
    try:
        job = sweep.job(values)
    except JobError as fault:
        return str(fault).split("\n")
    if isinstance(job.model, OnnxSpec):
        return [f"{sweep.place}: model.architecture: found 'onnx', of which nothing is trained"]
    if sweep.spec.eps is not None and sweep.spec.eps not in job.certify.eps:
        return [
            f"{sweep.place}: sweep.eps: found {sweep.spec.eps:g}; accepted is one of certify.eps, "
            f"{job.eps_in_words}"
        ]
    return []


def _where(where: list[Values], checked: int) -> str:
    first = ", ".join(f"{key} = {value!r}" for key, value in where[0].items())
    return f"in {len(where)} of {checked} combinations; the first: {first}"
