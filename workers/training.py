"""Train on a worker, an epoch to a task; on several, as `workers/team.py` has it.

The state goes out and comes back as bytes, so an epoch that a dying worker took with it is simply
run again, and a run that was stopped goes on from the last state that was written down.
"""

from collections.abc import Iterator
from typing import Any

from models.splits import Dataset, Examples, Split
from workers.lessons import Lesson, Metrics, epoch_of, is_over, seen_of
from workers.tasks import remote, result, share, threads


def train_epochs(
    told: Lesson, dataset: Dataset, *, state: bytes | None, past: list[Metrics]
) -> Iterator[tuple[bytes, Metrics]]:
    """Train from a state to the end; a state and its metrics to an epoch.

    Args:
        told: the training.
        dataset: its training and validation parts are used.
        state: what the last epoch gave, or None before the first.
        past: metrics of the epochs that are over.

    Raises:
        CertifyError: If training diverges.
    """
    if told.workers > 1:
        from workers.team import train_together

        yield from train_together(told, dataset, state=state, past=past)
        return
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
    """One epoch and a look at the validation part."""
    threads(told.threads, tf32=True)
    trained, metrics = epoch_of(told, train, state, epoch, device=told.device)
    return trained, metrics | seen_of(told, trained, validation, device=told.device)


def _export(told: Lesson, state: bytes, test: Split) -> tuple[bytes, float]:
    from models.networks.onnx_export import check_parity, export_onnx
    from models.networks.training import finished_network

    threads(told.threads)
    network = finished_network(
        state, told.model, input_shape=told.input_shape, classes=told.classes
    )
    model = export_onnx(network, told.input_shape)
    return model, check_parity(model, network, test.inputs())
