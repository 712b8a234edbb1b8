"""Train on a worker, an epoch to a task.

The state goes out and comes back as bytes, so an epoch that a dying worker took with it is simply
run again, and a run that was stopped goes on from the last state that was written down.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from models.errors import CertifyError
from models.model_spec import TrainedSpec
from models.spec import ResourcesSpec
from models.splits import Dataset, Examples, Split, refuse_unreachable
from models.train_spec import TrainSpec
from workers.cluster import task_cpus
from workers.tasks import device, remote, result, share, threads

Metrics = dict[str, Any]
"""Numbers of one epoch by name."""


@dataclass(frozen=True)
class Lesson:
    """What the training of one job is told, on every worker the same."""

    model: TrainedSpec
    train: TrainSpec
    classes: int
    input_shape: tuple[int, int, int]
    seed: int
    eps: tuple[float, ...]
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
        JobError: If a budget is beyond what images of this data can be certified for.
    """
    wished = () if train.for_eps is None else (train.for_eps,)
    refuse_unreachable(dataset, (*eps, *wished))
    return Lesson(
        model=model,
        train=train,
        classes=len(dataset.classes),
        input_shape=dataset.input_shape,
        seed=seed,
        eps=eps,
        threads=task_cpus(resources),
        device=device(resources),
    )


def train_epochs(
    told: Lesson, dataset: Dataset, *, state: bytes | None, past: list[Metrics]
) -> Iterator[tuple[bytes, Metrics]]:
    """Train from a state to the end; a state and its metrics to an epoch.

    Args:
        told: the training.
        dataset: its training and validation parts are used.
        state: what the last epoch gave, or None before the first.
        past: metrics of the epochs that are over.
    """
    parts = share(dataset.train), share(dataset.validation)
    history = list(past)
    while not is_over(told, history):
        state, metrics = result(epoch_task(told, parts, state, len(history)))
        history.append(metrics)
        yield state, metrics


def epoch_task(told: Lesson, parts: tuple[Any, Any], state: bytes | None, epoch: int) -> Any:
    """A task that gives the state and the metrics of an epoch.

    Args:
        told: the training.
        parts: references to the training and the validation part.
        state: what the epoch before gave, or None before the first.
        epoch: which one, from 0.
    """
    run = remote(_train_epoch, cpus=told.threads, gpus=told.device != "cpu")
    return run.remote(told, *parts, state, epoch)


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


def export(told: Lesson, state: bytes, test: Split) -> tuple[bytes, float]:
    """The trained network as an ONNX file, checked against it on the whole test part.

    Returns:
        The file's bytes, and the largest difference of a logit.
    """
    model, difference = result(export_task(told, state, share(test)))
    return model, difference


def export_task(told: Lesson, state: bytes, test: Any) -> Any:
    """A task that gives what `export` does; `test` is a reference to the part."""
    return remote(_export, cpus=told.threads).remote(told, state, test)


def rehearse(told: Lesson, dataset: Dataset) -> None:
    """One forward pass of the untrained network, here and without Ray.

    Raises:
        CertifyError: If the model cannot be built for this data.
    """
    from models.networks.training import finished_network, start_training
    from models.networks.validation import validate

    few = dataset.train.take(slice(0, 256))
    state = start_training(told.model, told.train, few, classes=told.classes, seed=told.seed)
    network = finished_network(
        state, told.model, input_shape=told.input_shape, classes=told.classes
    )
    validate(network, dataset.validation.take(slice(0, 16)), eps=told.eps)


def _train_epoch(
    told: Lesson, train: Examples, validation: Split, state: bytes | None, epoch: int
) -> tuple[bytes, Metrics]:
    """One epoch and a look at the validation part, after an exact projection."""
    from models.networks.training import finished_network, start_training, train_epoch
    from models.networks.validation import validate

    threads(told.threads)
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
        device=told.device,
    )
    seconds = time.perf_counter() - begun
    network = finished_network(
        state, told.model, input_shape=told.input_shape, classes=told.classes
    )
    seen = validate(network, validation, eps=told.eps, device=told.device)
    speed = {"seconds": seconds, "examples_per_second": len(train) / seconds}
    return state, metrics | seen | speed


def _export(told: Lesson, state: bytes, test: Split) -> tuple[bytes, float]:
    from models.networks.onnx_export import check_parity, export_onnx
    from models.networks.training import finished_network

    threads(told.threads)
    network = finished_network(
        state, told.model, input_shape=told.input_shape, classes=told.classes
    )
    model = export_onnx(network, told.input_shape)
    return model, check_parity(model, network, test.inputs())
