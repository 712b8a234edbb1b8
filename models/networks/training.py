"""Training, one epoch at a time: each a pure function of its arguments.

Plain weights under Adam or Muon, pulled back to the orthogonal ones every few steps, the exact
polar factor at the end.
Equal arguments give equal bytes on one machine with one number of threads, so an epoch may run
anywhere, twice, or again after a crash.  Nothing here is a certificate: bounds come from the file
that ships.
"""

import math

import numpy as np
import torch
from torch import nn

from models.errors import CertifyError
from models.loss_spec import at_share
from models.model_spec import TrainedSpec
from models.networks.augmentation import augmented
from models.networks.averaging import moved, newest_share
from models.networks.classifier import Classifier, folded, initial_classifier, refuse_unshippable
from models.networks.descent import Team, descend
from models.networks.holding import ADVICE, free_weights, held_weights, refuse_infinite
from models.networks.leash import Leash
from models.networks.muon import BETAS, muon
from models.networks.schedules import rate_factor
from models.networks.training_state import (
    Progress,
    pack,
    read_state,
    unpack_average,
    unpack_moments,
    unpack_network,
    unpack_progress,
    with_average,
)
from models.networks.validation import refuse_empty
from models.splits import Examples
from models.train_spec import TrainSpec

HEAD_RATE = 0.75  # Adam's learning rate of head and biases, of the orthogonal matrices'
FULL_RATE_ENTRIES = 400**2  # larger matrices take smaller steps: 512 × 6144 ran to NaN without


def start_training(
    model: TrainedSpec, train: TrainSpec, split: Examples, *, classes: int, seed: int
) -> bytes:
    """The state before the first epoch: axes and biases from the data, the rest from the seed.

    Raises:
        CertifyError: If the split is empty, or no ONNX file can hold the network.
    """
    refuse_empty(split)
    refuse_unshippable(model, input_shape=split.input_shape, classes=classes, examples=len(split))
    generator = _generator(seed)
    network = initial_classifier(
        model, split, classes=classes, generator=generator, turned=train.folded
    )
    progress = Progress(epochs=0, steps=0, project_every=1)
    return pack(network, _optimizer(network, train), progress, average={})


def train_epoch(  # noqa: PLR0913 (a team may be given)
    state: bytes,
    model: TrainedSpec,
    train: TrainSpec,
    split: Examples,
    *,
    classes: int,
    seed: int,
    epoch: int,
    device: str,
    team: Team | None = None,
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
        team: who computes which parts of a step; the state is the same for any team.

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
    refuse_empty(split)
    input_shape = split.input_shape
    network = unpack_network(tensors, model, input_shape=input_shape, classes=classes).to(device)
    optimizer = _optimizer(network, train)
    unpack_moments(tensors, network, optimizer, steps=progress.steps)
    average = unpack_average(tensors, device=device)
    batch_size = min(train.batch_size, len(split))
    steps = len(split) // batch_size
    total = train.epochs * steps
    order = split.order(seed, epoch)
    leash = Leash(
        network,
        interval=progress.project_every,
        longest=train.project_every,
        generator=_generator(seed, epoch),
        short=train.optimizer == "adam",
    )
    total_loss, factor = torch.zeros((), device=device), 0.0
    for step in range(steps):
        batch = split.take(order[step * batch_size : (step + 1) * batch_size])
        images = torch.tensor(batch.inputs()).to(device)
        if train.augment.on:
            images = augmented(images, train.augment, generator=_generator(seed, epoch, step))
        labels = torch.tensor(batch.labels).to(device)
        factor = rate_factor(
            progress.steps, total=total, warm_up=train.warm_up, schedule=train.schedule
        )
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        optimizer.zero_grad()
        wanted = at_share(train.loss, progress.steps / total)
        loss = descend(network, images, labels, train=train, wanted=wanted, team=team)
        optimizer.step()
        total_loss += loss
        progress.steps += 1
        if progress.steps % leash.interval == 0 or step == steps - 1:
            place = f"epoch {epoch}, step {step}"
            refuse_infinite(float(loss), place=place)
            leash.pull(place=place, last=step == steps - 1)
        if train.average is not None:
            share = newest_share(progress.steps - 1, total=total, spec=train.average)
            average = moved(average, dict(network.named_parameters()), share=share)
    _refuse_broken(network, place=f"epoch {epoch}, step {steps - 1}")
    progress.epochs, progress.project_every = progress.epochs + 1, leash.interval
    metrics = {
        "epoch": epoch,
        "loss": float(total_loss) / steps,
        "learning_rate": train.learning_rate * factor,
        "drift": leash.drift,
        "steps": steps,
    }
    return pack(network, optimizer, progress, average=average), metrics


def finished_network(
    state: bytes,
    model: TrainedSpec,
    *,
    input_shape: tuple[int, int, int],
    classes: int,
) -> nn.Sequential:
    """The network that ships: exactly orthogonal, folded, on the processor, in eval mode.

    It has the average of the weights where the state holds one.

    Raises:
        CertifyError: If the state does not fit the model, the input shape or the classes.
    """
    tensors = with_average(read_state(state))
    return folded(unpack_network(tensors, model, input_shape=input_shape, classes=classes))


def _optimizer(network: Classifier, train: TrainSpec) -> torch.optim.Adam:
    """One with a peak rate in each of its groups; `lr` is set from it at every step."""
    rate = train.learning_rate
    if train.optimizer == "muon":
        return muon(network, rate=rate, bfloat16=train.precision == "bfloat16")
    groups = [{"params": free_weights(network), "peak": rate * HEAD_RATE}]
    for held in held_weights(network):
        scale = min(1.0, math.sqrt(FULL_RATE_ENTRIES / held.parameter.numel()))
        groups.append({"params": [held.parameter], "peak": rate * scale})
    return torch.optim.Adam(groups, lr=rate, betas=BETAS, fused=True)


def _refuse_broken(network: Classifier, *, place: str) -> None:
    """Refuse to hand on weights that the next epoch could only fail with."""
    for name, weight in network.named_parameters():
        if not bool(weight.isfinite().all()):
            raise CertifyError(f"{place}: {name} has entries that are not finite; {ADVICE}")


def _generator(*parts: int) -> torch.Generator:
    """Random numbers that depend on every part."""
    return torch.Generator().manual_seed(_derived_seed(*parts))


def _derived_seed(*parts: int) -> int:
    """A seed for torch that depends on every part."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
