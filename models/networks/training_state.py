"""Training between two epochs as bytes: weights, their average, moments, counters, nothing else.

All that the next epoch depends on is in them, so a run that is cut off and goes on from its last
bytes ends with the same bits as one that was not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import Tensor, nn

from models.errors import CertifyError
from models.model_spec import TrainedSpec
from models.networks.classifier import Classifier, blank_classifier

WEIGHTS = "network."
AVERAGE = "average."
MOMENTS = {"adam.mean.": "exp_avg", "adam.square.": "exp_avg_sq"}
"""Where the state has what the optimiser calls so: of a held weight under Muon only the mean."""
PROGRESS = "progress"


@dataclass
class Progress:
    """Counters of a training run.

    Attributes:
        epochs: epochs that are done.
        steps: optimiser steps that are done.
        project_every: steps between two projections; see `next_interval`.
    """

    epochs: int
    steps: int
    project_every: int


def pack(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    *,
    average: Mapping[str, Tensor],
) -> bytes:
    """Safetensors bytes of a run, equal where the run is equal to the bit."""
    tensors = {WEIGHTS + name: value for name, value in network.state_dict().items()}
    tensors |= {AVERAGE + name: value for name, value in average.items()}
    for name, parameter in network.named_parameters():
        moments = optimizer.state[parameter]
        tensors |= {at + name: moments[key] for at, key in MOMENTS.items() if key in moments}
    counters = (progress.epochs, progress.steps, progress.project_every)
    tensors[PROGRESS] = torch.tensor(counters, dtype=torch.int64)
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    encoded: bytes = safetensors.torch.save(stored)
    return encoded


def unpack_network(
    tensors: dict[str, Tensor],
    model: TrainedSpec,
    *,
    input_shape: tuple[int, int, int],
    classes: int,
) -> Classifier:
    """The network of a run, on the processor.

    Raises:
        CertifyError: If the weights do not fit the model, the images or the classes.
    """
    weights = {
        name.removeprefix(WEIGHTS): value
        for name, value in tensors.items()
        if name.startswith(WEIGHTS)
    }
    axes = weights.get("view.axes")
    components = 0 if axes is None else len(axes)
    network = blank_classifier(
        model, input_shape=input_shape, components=components, classes=classes
    )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        found = " ".join(str(error).split())
        raise CertifyError(f"the training state does not fit the model: {found}") from None
    return network


def unpack_moments(
    tensors: dict[str, Tensor], network: nn.Module, optimizer: torch.optim.Optimizer, *, steps: int
) -> None:
    """Give the optimiser the moments of a run; `network` is already where it will train."""
    for name, parameter in network.named_parameters():
        device = parameter.device
        moments = {
            key: tensors[at + name].to(device, copy=True)
            for at, key in MOMENTS.items()
            if at + name in tensors
        }
        if moments:
            step = torch.tensor(float(steps), device=device)
            optimizer.state[parameter] = {"step": step, **moments}


def unpack_average(tensors: Mapping[str, Tensor], *, device: str) -> dict[str, Tensor]:
    """The average of a run's weights; empty where none has begun."""
    return {
        name.removeprefix(AVERAGE): value.to(device, copy=True)
        for name, value in tensors.items()
        if name.startswith(AVERAGE)
    }


def with_average(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same run with the average of its weights, where it has one, in their place."""
    average = unpack_average(tensors, device="cpu")
    return {**tensors, **{WEIGHTS + name: value for name, value in average.items()}}


def unpack_progress(tensors: dict[str, Tensor]) -> Progress:
    """The counters of a run."""
    return Progress(*tensors[PROGRESS].tolist())


def read_state(state: bytes) -> dict[str, Tensor]:
    """Tensors of a training state; views of the bytes, to be copied before any arithmetic.

    Raises:
        CertifyError: If the bytes are not a training state.
    """
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(state)
    except safetensors.SafetensorError as error:
        raise CertifyError(f"the training state cannot be read: {error}") from None
    if PROGRESS not in tensors:
        raise CertifyError(f"the training state lacks {PROGRESS!r}, found {sorted(tensors)}")
    return tensors
