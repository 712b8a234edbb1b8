"""What each stage of a job may be asked: frozen, closed to unknown keys, free of torch.

Units: a pixel runs from 0 to 1; ε and radii are L2 distances between such images.
"""

import math
import re
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)


class Spec(BaseModel):
    """Base of every part of a job: frozen, closed to unknown keys, no silent conversions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def parse_eps(found: object) -> float:
    """A perturbation budget from a number or a fraction such as "36/255".

    Returns:
        The nearest float64: from then on, *that* number is the budget.

    Raises:
        ValueError: If it is not a positive finite number.
    """
    accepted = 'a positive number or a fraction such as "36/255"'
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise ValueError(f"accepted is {accepted}")  # noqa: TRY004 (pydantic wants a ValueError)
    try:
        eps = float(Fraction(found)) if isinstance(found, str) else float(found)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"accepted is {accepted}") from None
    if not (math.isfinite(eps) and eps > 0):
        raise ValueError(f"accepted is {accepted}")
    return eps


def of_form(pattern: str, *, accepted: str) -> AfterValidator:
    """A check of a whole text's form, which says in words what is accepted."""

    def checked(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(accepted)
        return text

    return AfterValidator(checked)


Eps = Annotated[float, BeforeValidator(parse_eps)]
Share = Annotated[float, Field(gt=0, lt=1)]


class DataSpec(Spec):
    """Where the images come from and how they are split."""

    source: Literal["digits", "fashion-mnist", "folder", "npz", "parquet"] = "digits"
    """Kind of source; all but `digits` have a `path`, which `fashion-mnist` may leave out."""
    path: str | None = Field(default=None, min_length=1)
    """File or folder; a relative one starts at the folder of the job file."""
    label_column: str | None = Field(default=None, min_length=1)
    """Column of the labels, for `parquet` where several could be it."""
    buffer: PositiveInt | None = None
    """Training images that are held in memory at a time, for `folder` and `parquet`: an epoch reads
    the others from their files.  All are held if left out."""
    validation: Share = 0.1
    """Share of the training images kept apart to watch training, where the source does not."""
    test: Share = 0.2
    """Share of all images kept apart for certificates, where the source has no test part."""

    @model_validator(mode="after")
    def _path_fits_source(self) -> "DataSpec":
        if self.source == "digits" and self.path is not None:
            raise ValueError("path is not accepted with source 'digits', which is built in")
        if self.source in ("folder", "npz", "parquet") and self.path is None:
            raise ValueError(f"path is required with source {self.source!r}")
        if self.source != "parquet" and self.label_column is not None:
            raise ValueError(f"label_column is not accepted with source {self.source!r}")
        if self.source not in ("folder", "parquet") and self.buffer is not None:
            raise ValueError(f"buffer is not accepted with source {self.source!r}")
        if self.buffer is not None and self.path is not None and "://" in self.path:
            raise ValueError(
                "buffer is not accepted with a path in an object store, whose files are copied for "
                "one reading; accepted is a path of a disk that all machines share"
            )
        return self


class CertifySpec(Spec):
    """At which budgets the certified accuracy is reported."""

    eps: tuple[Eps, ...] = Field(default=(36 / 255, 0.25, 0.5, 1.0), strict=False)
    """Perturbation budgets, in input units, reported in rising order."""
    shard_size: PositiveInt = 1000
    """Examples in a shard; part of the job because sums depend on it in the last bit."""

    @field_validator("eps")
    @classmethod
    def _eps_differ(cls, eps: tuple[float, ...]) -> tuple[float, ...]:
        if not eps or len(set(eps)) < len(eps):
            raise ValueError("accepted are one or more budgets that differ")
        return eps


class AttackSpec(Spec):
    """The AutoAttack run that tries to break the certificates, at each ε of `certify`."""

    examples: PositiveInt = 500
    """Test examples attacked, a seeded choice; all of them where there are fewer."""
    audit: float = Field(default=0.05, ge=0, le=1)
    """Share of the examples certified at ε that AutoAttack attacks all the same.  At 1 all are, and
    nothing that is proven decides where is looked; below, rivals out of reach are left out too."""
    shard_size: PositiveInt = 100
    """Examples in a shard; part of the job because batches change some attacks' results."""


class EvaluateSpec(Spec):
    """A batch evaluation: a row an image, streamed; nothing is trained and nothing attacked."""

    shard_size: PositiveInt = 4096
    """Rows in a file of the result; none has rows of two Parquet files."""


class ResourcesSpec(Spec):
    """What the job asks of the machine or cluster."""

    workers: PositiveInt = 1
    """Worker processes side by side."""
    cpus_per_worker: PositiveInt | None = None
    """Processors of each; a fair part of this machine's if left out, and one to train in steps that
    are too small to be shared."""
    gpus_per_worker: NonNegativeInt = 0
    """GPUs of each; asking for one where there is none is an error."""
    memory_per_worker: PositiveFloat | None = None
    """Gigabytes (10⁹ bytes) that must be free for each; not asked for if left out."""
    training_workers: PositiveInt = 1
    """Workers that share a step of training, each some of its `train.accumulate` parts; the number
    of parts decides the weights, and this one does not."""
    time_limit: PositiveFloat | None = None
    """Seconds after which the run stops, to be resumed later; none if left out."""

    @model_validator(mode="before")
    @classmethod
    def _no_priorities(cls, keys: object) -> object:
        if isinstance(keys, dict) and "priority" in keys:
            raise ValueError(
                f"priority: found {keys['priority']!r}; accepted is none, since Ray has none "
                "between jobs: a run gets what it asks for when that is free; stop a run to let "
                "another go first, and resume it"
            )
        return keys

    @model_validator(mode="after")
    def _those_who_train_are_workers(self) -> "ResourcesSpec":
        if self.training_workers > self.workers:
            raise ValueError(
                f"training_workers: found {self.training_workers}; accepted are at most as many as "
                f"resources.workers, which is {self.workers}"
            )
        if self.training_workers > 1 and self.gpus_per_worker > 1:
            raise ValueError(
                f"gpus_per_worker: found {self.gpus_per_worker} with training_workers = "
                f"{self.training_workers}; accepted is 0 or 1: each trains on one"
            )
        return self
