"""What the training of a job is told, and what every worker that trains does with it.

An epoch is a function of its arguments alone, on one worker or on a team.
"""

import math
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from models.errors import CertifyError, JobError
from models.model_spec import LinearSpec, MlpSpec, TrainedSpec
from models.spec import ResourcesSpec
from models.splits import Dataset, Examples, Split, refuse_unreachable
from models.train_spec import TrainSpec
from workers.cluster import all_cpus, task_cpus
from workers.machine import refuse_precision
from workers.tasks import are_reserved, device

if TYPE_CHECKING:
    from models.networks.descent import Team

WORTH_SHARING = 2e8
"""Operations of a step from which a second thread saves time; below, both mostly wait for each
other, beside other busy processes for seconds."""

Metrics = dict[str, Any]
"""Numbers of one epoch by name."""


@dataclass(frozen=True)
class Lesson:
    """What the training of one job is told, on every worker the same.

    Attributes:
        model: the architecture.
        train: how to train.
        classes: how many.
        input_shape: channels, height, width.
        seed: of every random number.
        eps: budgets that are watched on the validation part.
        workers: how many train side by side.
        threads: processors of each; sums depend on them in the last bit.
        device: where to compute, as torch names it.
    """

    model: TrainedSpec
    train: TrainSpec
    classes: int
    input_shape: tuple[int, int, int]
    seed: int
    eps: tuple[float, ...]
    workers: int
    threads: int
    device: str


def lesson(
    dataset: Dataset,
    *,
    model: TrainedSpec,
    train: TrainSpec,
    seed: int,
    eps: tuple[float, ...],
    resources: ResourcesSpec,
) -> Lesson:
    """The training that a job asks for.

    Raises:
        JobError: If a budget is beyond what images of this data can be certified for, or nothing
            would be left of an image.
    """
    wished = () if train.for_eps is None else (train.for_eps,)
    refuse_unreachable(dataset, (*eps, *wished))
    _refuse_blank(dataset, train)
    return Lesson(
        model=model,
        train=train,
        classes=len(dataset.classes),
        input_shape=dataset.input_shape,
        seed=seed,
        eps=eps,
        workers=resources.training_workers,
        threads=threads_of(resources, brief=is_brief(dataset, model, train)),
        device=device(resources),
    )


def _refuse_blank(dataset: Dataset, train: TrainSpec) -> None:
    """Refuse to move an image out of its frame, or to black all of it."""
    side = min(dataset.input_shape[1:])
    for name in ("shift", "cutout"):
        found = getattr(train.augment, name)
        if found >= side:
            raise JobError(
                f"train.augment.{name}: found {found} for images of side {side}; accepted is less "
                "than the side"
            )


def is_brief(dataset: Dataset, model: TrainedSpec, train: TrainSpec) -> bool:
    """Whether a step is over before threads would have agreed on it; none with convolutions is.

    It is told from the job alone: to build the network would load torch where nothing else needs
    it, which takes longer than such a step does a hundred times.
    """
    if isinstance(model, LinearSpec):
        hidden: tuple[int, ...] = ()
    elif isinstance(model, MlpSpec):
        hidden = (model.components or model.widths[0], *model.widths)
    else:
        return False
    sides = (math.prod(dataset.input_shape), *hidden, len(dataset.classes))
    products = sum(taken * given for taken, given in pairwise(sides))
    return 3 * train.batch_size * 2 * products < WORTH_SHARING


def threads_of(resources: ResourcesSpec, *, brief: bool) -> int:
    """Processors of each worker that trains; one for brief steps where the job asks for none."""
    if brief and resources.cpus_per_worker is None:
        return 1
    if are_reserved():
        return task_cpus(resources)
    return max(1, all_cpus(resources) // resources.training_workers)


def best_epoch(told: Lesson, history: list[Metrics]) -> int:
    """The epoch that ships: the last, or the first that no other beats at the ε of `best`.

    Accuracies are those after projection on the validation part.

    Raises:
        CertifyError: If there is no epoch.
    """
    if not history:
        raise CertifyError("training ended without an epoch; accepted are 1 or more")
    if told.train.best is None:
        return len(history) - 1
    place = told.eps.index(told.train.best.eps)
    certified = [metrics["estimated_certified_accuracy"][place] for metrics in history]
    return certified.index(max(certified))


def is_over(told: Lesson, history: list[Metrics]) -> bool:
    """Whether all epochs are done, or the best one lies longer back than the job's patience."""
    if len(history) in (0, told.train.epochs):
        return bool(history)
    best = told.train.best
    if best is None or best.patience is None:
        return False
    return len(history) - 1 - best_epoch(told, history) >= best.patience


def epoch_of(
    told: Lesson,
    train: Examples,
    state: bytes | None,
    epoch: int,
    *,
    device: str,
    team: "Team | None" = None,
) -> tuple[bytes, Metrics]:
    """One epoch: the state after it, and its metrics.

    Raises:
        CertifyError: If training diverges, or this machine lacks what its precision needs.
    """
    from models.networks.training import start_training, train_epoch

    refuse_precision(told.train.precision, device)
    if state is None:
        state = start_training(told.model, told.train, train, classes=told.classes, seed=told.seed)
    begun = time.perf_counter()
    state, metrics = train_epoch(
        state,
        told.model,
        told.train,
        train,
        classes=told.classes,
        seed=told.seed,
        epoch=epoch,
        device=device,
        team=team,
    )
    seconds = time.perf_counter() - begun
    return state, metrics | {"seconds": seconds, "examples_per_second": len(train) / seconds}


def seen_of(told: Lesson, state: bytes, validation: Split, *, device: str) -> Metrics:
    """A look at the validation part after an exact projection."""
    from models.networks.training import finished_network
    from models.networks.validation import validate

    network = finished_network(
        state, told.model, input_shape=told.input_shape, classes=told.classes
    )
    return validate(network, validation, eps=told.eps, device=device)
