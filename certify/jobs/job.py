"""The job file: what a user asks for, checked whole before anything starts.

Every fault is reported at once, each with the file, the key, what was found and what is accepted.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, ValidationError, model_validator

from certify.jobs.faults import told
from certify.jobs.gates import Gate, GateText, parse_gate
from certify.jobs.keys import read_keys
from models.errors import JobError
from models.model_spec import MlpSpec, ModelSpec, OnnxSpec
from models.spec import (
    AttackSpec,
    CertifySpec,
    DataSpec,
    EvaluateSpec,
    ResourcesSpec,
    Spec,
    of_form,
)
from models.train_spec import TrainSpec
from reports.words import exact_budget

UNEVALUATED = ("seed", "gates", "train", "certify", "attack")
"""Keys that a batch evaluation has no use for."""

STREAMED = ("folder", "parquet")
"""Kinds of data that a batch evaluation reads."""

OF_TRAINING = ("validation", "test", "buffer")
"""Keys of `data` that only training asks for: how a part is cut off, how much of one is held."""

Name = Annotated[
    str,
    of_form(
        r"[a-z0-9][a-z0-9-]{0,62}",
        accepted="accepted are 1 to 63 lower-case letters, digits and dashes, no dash first",
    ),
]


class JobSpec(Spec):
    """A whole job; every key may be left out but the name."""

    name: Name
    """Lower-case letters, digits and dashes; the run's id begins with it."""
    seed: NonNegativeInt = 0
    """Of every random number of the job."""
    gates: tuple[GateText, ...] = Field(default=("violations == 0",), strict=False)
    """Comparisons that the result must pass."""
    data: DataSpec = DataSpec()
    model: ModelSpec = MlpSpec()
    train: TrainSpec = TrainSpec()
    certify: CertifySpec = CertifySpec()
    attack: AttackSpec = AttackSpec()
    evaluate: EvaluateSpec | None = None
    """Makes the job a batch evaluation of a foreign model."""
    resources: ResourcesSpec = ResourcesSpec()

    @model_validator(mode="after")
    def _gates_speak_of_known_eps(self) -> "JobSpec":
        for gate in self.parsed_gates():
            if gate.eps is not None and gate.eps not in self.certify.eps:
                raise ValueError(
                    f"gates: found {gate.text!r}; accepted after @ is one of certify.eps, "
                    f"{self.eps_in_words}"
                )
        return self

    @model_validator(mode="after")
    def _the_best_epoch_is_decided_at_a_certified_eps(self) -> "JobSpec":
        best = self.train.best
        if best is not None and best.eps not in self.certify.eps:
            raise ValueError(
                f"train.best.eps: found {best.eps:g}; accepted is one of certify.eps, "
                f"{self.eps_in_words}"
            )
        return self

    @model_validator(mode="after")
    def _each_training_worker_has_a_part_of_a_step(self) -> "JobSpec":
        workers, parts = self.resources.training_workers, self.train.accumulate
        if workers > parts and not isinstance(self.model, OnnxSpec):
            raise ValueError(
                f"resources.training_workers: found {workers}; accepted are at most the parts of a "
                f"step, train.accumulate, which is {parts}"
            )
        return self

    @model_validator(mode="after")
    def _a_foreign_model_is_not_trained(self) -> "JobSpec":
        if isinstance(self.model, OnnxSpec):
            asked = [f"data.{key}" for key in OF_TRAINING if key in self.data.model_fields_set]
            asked += ["train"] if "train" in self.model_fields_set else []
            asked += ["resources.training_workers"] if self.resources.training_workers > 1 else []
            if asked:
                raise ValueError(
                    f"{' and '.join(asked)} is not accepted with architecture 'onnx': nothing is "
                    "trained, and all test images are certified"
                )
        return self

    @model_validator(mode="after")
    def _an_evaluation_asks_for_rows_alone(self) -> "JobSpec":
        if self.evaluate is None:
            return self
        if not isinstance(self.model, OnnxSpec):
            raise ValueError(  # noqa: TRY004 (pydantic wants a ValueError)
                "evaluate is accepted with architecture 'onnx' alone"
            )
        asked = [key for key in UNEVALUATED if key in self.model_fields_set]
        if asked:
            raise ValueError(
                f"{' and '.join(asked)} is not accepted with evaluate, which attacks nothing"
            )
        if self.data.source not in STREAMED:
            raise ValueError(
                f"data.source: found {self.data.source!r} with evaluate; accepted are "
                f"{' and '.join(STREAMED)}"
            )
        if self.resources.gpus_per_worker:
            raise ValueError(
                "resources.gpus_per_worker: found a GPU with evaluate; accepted is 0, since no "
                "radius is proven of the convolutions of GPU libraries"
            )
        return self

    @property
    def eps(self) -> tuple[float, ...]:
        """Perturbation budgets, rising."""
        return tuple(sorted(self.certify.eps))

    @property
    def eps_in_words(self) -> str:
        """The budgets, each as a job file may hold it."""
        return ", ".join(exact_budget(eps) for eps in self.eps)

    def parsed_gates(self) -> list[Gate]:
        """The gates, ready to judge a summary."""
        return [parse_gate(text) for text in self.gates]

    def to_json(self) -> str:
        """The resolved job, every default filled in, in one canonical form."""
        return json.dumps(self.resolved(), indent=2, sort_keys=True) + "\n"

    def resolved(self) -> dict[str, Any]:
        """The job with every default, less the keys that it has no use for."""
        found: dict[str, Any] = self.model_dump(mode="json")
        if isinstance(self.model, OnnxSpec):
            del found["train"]
            found["data"] = {
                key: found["data"][key] for key in found["data"] if key not in OF_TRAINING
            }
        unused = ("evaluate",) if self.evaluate is None else UNEVALUATED
        return {key: found[key] for key in found if key not in unused}

    def with_model_hash(self, sha256: str) -> "JobSpec":
        """The same job, which then speaks of one foreign file and no other."""
        return self.model_copy(update={"model": self.model.model_copy(update={"sha256": sha256})})

    def decisive(self) -> dict[str, Any]:
        """All that decides the result: the resources do not, nor where a file lies."""
        decisive = self.resolved()
        for key in ("resources", "gates"):
            decisive.pop(key, None)
        if decisive["model"].get("sha256"):
            del decisive["model"]["path"]
        return decisive

    def sha256(self) -> str:
        """Hash of all that decides the result."""
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()


def load_job(path: Path, *, overrides: Iterable[str] = ()) -> JobSpec:
    """Read and check a job file.

    Args:
        path: a TOML file.
        overrides: as `read_keys` takes them.

    Raises:
        JobError: With every fault of the file.
    """
    keys = read_keys(path, overrides=overrides)
    if "sweep" in keys:
        raise JobError(f"{path}: sweep: found a sweep of many jobs; accepted is a job of one run")
    return check_job(keys, place=str(path))


def check_job(keys: Mapping[str, Any], *, place: str) -> JobSpec:
    """The job of some tables and keys.

    Args:
        keys: as a job file holds them.
        place: where they come from, for messages.

    Raises:
        JobError: With every fault.
    """
    try:
        return JobSpec.model_validate(keys)
    except ValidationError as error:
        lines = (told(fault, place, spec=JobSpec) for fault in error.errors())
        raise JobError("\n".join(lines)) from None
