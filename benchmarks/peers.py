"""Networks of the peer libraries, in their released code, trained and handed over as plain layers.

torchlip's documented example for Fashion-MNIST is kept as its documentation has it: network, loss,
optimiser, batches of 100; the documentation shows runs of 10 to 50 epochs, here it is 15.  With
the loss of this library a free linear head takes the place of the last layer, and images are
centred first, so that the layers alone differ.

Source: https://deel-ai.github.io/deel-torchlip, "HKR multiclass and fooling";
https://github.com/deel-ai/orthogonium.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
from deel import torchlip
from orthogonium.layers import AdaptiveOrthoConv2d, MaxMin, OrthoLinear
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from models.loss_spec import LossSpec
from models.networks.losses.choice import loss_of
from models.networks.schedules import rate_factor
from models.networks.views import CentredImage
from models.splits import Split

Shape = tuple[int, int, int]
DOCUMENTED_EPOCHS = 15


def torchlip_layers(shape: Shape, *, channels: int, features: int) -> list[nn.Module]:
    """Two convolutions with L2 pooling behind each, and a dense layer."""
    pixels = (shape[1] // 4) * (shape[2] // 4)
    return [
        torchlip.SpectralConv2d(shape[0], channels, (3, 3), padding="same"),
        torchlip.GroupSort2(),
        torchlip.ScaledL2NormPool2d((2, 2)),
        torchlip.SpectralConv2d(channels, 2 * channels, (3, 3), padding="same"),
        torchlip.GroupSort2(),
        torchlip.ScaledL2NormPool2d((2, 2)),
        nn.Flatten(),
        torchlip.SpectralLinear(2 * channels * pixels, features),
        torchlip.GroupSort2(),
    ]


def orthogonium_layers(shape: Shape, *, channels: int, features: int) -> list[nn.Module]:
    """The same with orthogonal strided convolutions (AOC) in the place of the pooling."""
    pixels = (shape[1] // 4) * (shape[2] // 4)

    def convolution(before: int, after: int, *, stride: int) -> list[nn.Module]:
        side, padding = (3, 1) if stride == 1 else (stride, 0)
        told = {"stride": stride, "padding": padding, "padding_mode": "zeros"}
        return [AdaptiveOrthoConv2d(before, after, side, **told), MaxMin()]

    return [
        *convolution(shape[0], channels, stride=1),
        *convolution(channels, 2 * channels, stride=2),
        *convolution(2 * channels, 2 * channels, stride=1),
        *convolution(2 * channels, 2 * channels, stride=2),
        nn.Flatten(),
        OrthoLinear(2 * channels * pixels, features),
        MaxMin(),
    ]


def documented(split: Split, *, seed: int, quick: bool) -> nn.Module:
    """torchlip's documented example, trained."""
    torch.manual_seed(seed)
    network = torchlip.Sequential(
        *torchlip_layers((1, 28, 28), channels=16, features=64),
        torchlip.FrobeniusLinear(64, 10, bias=True, disjoint_neurons=True),
        k_coef_lip=1.0,
    )
    criterion = torchlip.LseHKRMulticlassLoss(alpha=0.9, min_margin=1.0, temperature=10.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for epoch in range(1 if quick else DOCUMENTED_EPOCHS):
        for images, labels in batches(split, size=100, seed=seed, epoch=epoch):
            optimizer.zero_grad()
            criterion(network(images), functional.one_hot(labels, 10)).backward()
            optimizer.step()
    return plain(network)


def with_our_loss(
    layers: list[nn.Module],
    features: int,
    split: Split,
    *,
    loss: LossSpec,
    seed: int,
    seconds: float,
    rate: float = 3e-3,
) -> nn.Module:
    """A peer's layers and a free head under a loss of this library, for so many seconds.

    Args:
        layers: of the peer, its random numbers drawn.
        features: that the last layer gives.
        split: the training part.
        loss: what is minimised.
        seed: of the order and the head.
        seconds: of the processor; the learning rate falls to 0 in a line with them.
        rate: the peak learning rate.
    """
    centre = torch.tensor(split.take(slice(0, 10_000)).inputs()).mean(dim=0)
    head = nn.Linear(features, int(split.labels.max()) + 1)
    network = nn.Sequential(CentredImage(centre), *layers, head)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.99))
    begun, epoch, used = time.process_time(), 0, 0.0
    while used < seconds:
        for images, labels in batches(split, size=256, seed=seed, epoch=epoch):
            used = time.process_time() - begun
            if used >= seconds:
                break
            place = int(1000 * used / seconds)
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_factor(place, total=1000, warm_up=0.05, schedule="linear")
            optimizer.zero_grad()
            loss_of(loss, network(images), labels, head=head.weight).backward()
            optimizer.step()
        epoch += 1
    return plain(network)


def plain(network: nn.Module) -> nn.Module:
    """The network with weights as numbers: torchlip's own export, torch's for all others."""
    network.eval()
    network.zero_grad()  # a gradient keeps the shape of the free parameter, not of the weight
    if isinstance(network, torchlip.Sequential):
        return network.vanilla_export().eval()
    for name, layer in list(network.named_children()):
        if isinstance(layer, torchlip.LipschitzModule):
            setattr(network, name, layer.vanilla_export())
        elif parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight")
    return network.eval()


def batches(split: Split, *, size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels in an order of its own for each epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(len(split))
    for start in range(0, len(split) - size + 1, size):
        batch = split.take(order[start : start + size])
        yield torch.tensor(batch.inputs()), torch.tensor(batch.labels)
