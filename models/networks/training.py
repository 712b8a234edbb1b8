"""Training, one epoch at a time: each a pure function of its arguments.

Plain weights under Adam, a Newton-Schulz step every few steps, the exact polar factor at the end.
Equal arguments give equal bytes on one machine with one number of threads, so an epoch may run
anywhere, twice, or again after a crash.  Nothing here is a certificate: bounds come from the file
that ships.
"""

import copy
import math

import numpy as np
import torch
from torch import nn

from models.errors import CertifyError
from models.networks.architectures import Classifier, folded, initial_classifier
from models.networks.losses.choice import loss_of
from models.networks.losses.radii import pair_radii
from models.networks.orthogonal import next_interval, pulled_back, refuse_infinite
from models.networks.training_state import (
    Progress,
    pack,
    read_state,
    unpack_moments,
    unpack_network,
    unpack_progress,
)
from models.spec import LinearSpec, MlpSpec
from models.splits import Split
from models.train_spec import TrainSpec

BETAS = (0.9, 0.99)
HEAD_RATE = 0.75  # learning rate of head and biases, of the orthogonal matrices'
FULL_RATE_ENTRIES = 400**2  # larger matrices take smaller steps: 512 × 6144 ran to NaN without


def start_training(
    model: LinearSpec | MlpSpec, train: TrainSpec, split: Split, *, classes: int, seed: int
) -> bytes:
    """The state before the first epoch: axes and biases from the data, the rest from the seed.

    Raises:
        CertifyError: If the split is empty.
    """
    _refuse_empty(split)
    generator = torch.Generator().manual_seed(_derived_seed(seed))
    network = initial_classifier(model, split, classes=classes, generator=generator)
    progress = Progress(epochs=0, steps=0, project_every=1)
    return pack(network, _optimizer(network, train), progress)


def train_epoch(
    state: bytes,
    model: LinearSpec | MlpSpec,
    train: TrainSpec,
    split: Split,
    *,
    classes: int,
    seed: int,
    epoch: int,
    device: str,
) -> tuple[bytes, dict[str, int | float]]:
    """Train for one pass over the training part.

    Args:
        state: what `start_training`, or this function for the epoch before, gave.
        model: the architecture.
        train: how to train; the schedule spans all its epochs.
        split: the training part.
        classes: how many.
        seed: with `epoch`, it fixes the order of the examples.
        epoch: which one, from 0.
        device: where to compute, as torch names it.

    Returns:
        The state after the epoch and its metrics: `epoch`, the mean `loss`, the last
        `learning_rate`, the largest `drift` before a projection, and `steps`.

    Raises:
        CertifyError: If the state is not the one before `epoch` or does not fit the model, if
            the split is empty, or if training diverges.
    """
    tensors = read_state(state)
    progress = unpack_progress(tensors)
    if progress.epochs != epoch:
        raise CertifyError(f"the state has {progress.epochs} epochs behind it, not {epoch}")
    _refuse_empty(split)
    pixels = math.prod(split.images.shape[1:])
    network = unpack_network(tensors, model, pixels=pixels, classes=classes).to(device)
    optimizer = _optimizer(network, train)
    unpack_moments(tensors, network, optimizer, steps=progress.steps)
    batch_size = min(train.batch_size, len(split))
    steps = len(split) // batch_size
    order = np.random.default_rng([seed, epoch]).permutation(len(split))
    total_loss, worst_drift, factor = torch.zeros((), device=device), 0.0, 0.0
    for step in range(steps):
        batch = split.take(order[step * batch_size : (step + 1) * batch_size])
        images = torch.tensor(batch.inputs()).to(device)
        labels = torch.tensor(batch.labels).to(device)
        factor = _schedule(progress.steps, total=train.epochs * steps, warm_up=train.warm_up)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        loss = loss_of(train.loss, network(images), labels, head=network.head.weight)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        total_loss += loss.detach()
        progress.steps += 1
        if progress.steps % progress.project_every == 0 or step == steps - 1:
            place = f"epoch {epoch}, step {step}"
            refuse_infinite(float(loss.detach()), place=place)
            drifted = _project(network, place=place)
            worst_drift = max(worst_drift, drifted)
            progress.project_every = next_interval(
                progress.project_every, drift=drifted, longest=train.project_every
            )
    progress.epochs += 1
    metrics = {
        "epoch": epoch,
        "loss": float(total_loss) / steps,
        "learning_rate": train.learning_rate * factor,
        "drift": worst_drift,
        "steps": steps,
    }
    return pack(network, optimizer, progress), metrics


def finished_network(
    state: bytes,
    model: LinearSpec | MlpSpec,
    *,
    input_shape: tuple[int, int, int],
    classes: int,
) -> nn.Sequential:
    """The network that ships: exactly orthogonal, folded, on the processor, in eval mode.

    Raises:
        CertifyError: If the state does not fit the model, the input shape or the classes.
    """
    pixels = math.prod(input_shape)
    return folded(unpack_network(read_state(state), model, pixels=pixels, classes=classes))


@torch.inference_mode()
def validate(
    network: nn.Sequential,
    split: Split,
    *,
    eps: tuple[float, ...],
    device: str = "cpu",
    batch_size: int = 1000,
) -> dict[str, float | list[float]]:
    """Clean accuracy, and an *estimate* of the certified ones, to watch training by.

    Not a certificate: the radius is float32 arithmetic under a body taken to have norm 1.

    Args:
        network: what `finished_network` gave.
        split: examples that were not trained on.
        eps: perturbation budgets, in input units.
        device: where to compute.
        batch_size: examples at a time.

    Returns:
        `clean_accuracy`, and `estimated_certified_accuracy` in the order of `eps`; fractions.

    Raises:
        CertifyError: If the split is empty.
    """
    _refuse_empty(split)
    network = copy.deepcopy(network).to(device)
    head = network[-1]
    if not isinstance(head, nn.Linear):
        raise CertifyError(f"expected a network that ends in Linear, found {type(head).__name__}")
    radii = []
    for start in range(0, len(split), batch_size):
        batch = split.take(slice(start, start + batch_size))
        labels = torch.tensor(batch.labels).to(device)
        logits = network(torch.tensor(batch.inputs()).to(device))
        by_rival = pair_radii(logits, labels, head=head.weight).scatter_(
            1, labels[:, None], math.inf
        )
        radii.append(by_rival.amin(dim=1).cpu())
    radius = torch.cat(radii)
    return {
        "clean_accuracy": float((radius > 0).double().mean()),
        "estimated_certified_accuracy": [float((radius > e).double().mean()) for e in eps],
    }


@torch.no_grad()
def _project(network: Classifier, *, place: str) -> float:
    """Pull every orthogonal matrix back; the largest drift before."""
    worst = 0.0
    for layer in network.orthogonal_layers:
        pulled, before = pulled_back(layer.weight, place=place)
        layer.weight.copy_(pulled)
        worst = max(worst, before)
    return worst


def _optimizer(network: Classifier, train: TrainSpec) -> torch.optim.Adam:
    """Adam with a peak rate for each matrix; `lr` is set from it at every step."""
    rate = train.learning_rate
    free = [layer.bias for layer in network.orthogonal_layers] + list(network.head.parameters())
    groups: list[dict[str, object]] = [{"params": free, "peak": rate * HEAD_RATE}]
    for layer in network.orthogonal_layers:
        scale = min(1.0, math.sqrt(FULL_RATE_ENTRIES / layer.weight.numel()))
        groups.append({"params": [layer.weight], "peak": rate * scale})
    return torch.optim.Adam(groups, lr=rate, betas=BETAS, fused=True)


def _schedule(step: int, *, total: int, warm_up: float) -> float:
    """Share of the peak rate at a step from 0: up in a line, then down in a line to 0."""
    rising = round(warm_up * total)
    return (step + 1) / rising if step < rising else (total - step) / (total - rising)


def _refuse_empty(split: Split) -> None:
    if len(split) == 0:
        raise CertifyError("the split has no example; at least 1 is needed")


def _derived_seed(*parts: int) -> int:
    """A seed for torch that depends on every part."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
