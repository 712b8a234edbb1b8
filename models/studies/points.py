"""A 1-Lipschitz function of few inputs: trained, shipped and proved as a classifier is.

One orthogonal layer after another and a head of unit length give f.  What is proved is the file
that would ship, of logits (-f/2, f/2): the bound of their gap is the bound of f.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.networks.activations import AbsHalf
from models.networks.blank import blank
from models.networks.holding import held_weights, hold, pull_back, refuse_infinite
from models.networks.muon import muon
from models.networks.onnx_export import export_onnx
from models.networks.schedules import rate_factor
from models.networks.shipping import shipped
from models.proof.bounds import Bounds, prove
from models.proof.program import Program, logits_in_float64
from models.proof.reading.reader import read_program

AT_ONCE = 2**15  # points through a network in float64: a million need more than the memory there is
Points = Float[Tensor, "examples inputs"]


class SignedNetwork(nn.Module):
    """f of points: orthogonal layers, folds between them, and a head of unit length."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((inputs, *widths), widths, strict=False):
            layers += [hold(nn.Linear(before, width)), AbsHalf(width)]
        self.body = nn.Sequential(*layers)
        self.head = hold(nn.Linear(widths[-1], 1))
        self.inputs = inputs

    def forward(self, points: Points) -> Float[Tensor, " examples"]:
        """The function f at each point."""
        value: Tensor = self.head(self.body(points))
        return value[:, 0]

    @torch.no_grad()
    def shipped(self) -> nn.Sequential:
        """The two logits -f/2 and f/2 in torch's own layers, of points as images."""
        head = shipped(self.head).state_dict()
        pair = blank(lambda: nn.Linear(self.head.in_features, 2))
        pair.weight.copy_(torch.cat((-head["weight"], head["weight"])) / 2)
        pair.bias.copy_(torch.cat((-head["bias"], head["bias"])) / 2)
        return nn.Sequential(nn.Flatten(), *map(shipped, self.body), pair).eval()


@torch.no_grad()
def signed_network(points: Points, *, widths: tuple[int, ...], seed: int) -> SignedNetwork:
    """A network at its start: random orthogonal matrices, and folds between some of the points.

    Args:
        points: where the function is to be learned.
        widths: features of each orthogonal layer.
        seed: of the matrices, and of the places that are folded at.
    """
    generator = torch.Generator().manual_seed(seed)
    network = blank(lambda: SignedNetwork(points.shape[1], widths))
    for held in held_weights(network):
        held.parameter.copy_(held.manifold.random(held.parameter, generator=generator))
    features = points
    for layer in network.body:
        if isinstance(layer, nn.Linear):
            layer.bias.zero_()
            there = layer(features)
            one, other = torch.randint(len(points), (2, there.shape[1]), generator=generator)
            share, each = torch.rand(there.shape[1], generator=generator), range(there.shape[1])
            layer.bias.copy_(-torch.lerp(there[one, each], there[other, each], share))
        features = layer(features)
    network.head.bias.zero_()
    network.head.bias.copy_(-network.head(features).mean(dim=0))
    return network


def fit(
    network: SignedNetwork,
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    rate: float,
    watch: Callable[[int], None] | None = None,
) -> None:
    """Train by Muon at a rate that falls to 0 in a line; the network itself is changed.

    Args:
        network: to be trained.
        loss: of the network as it stands, at a step.
        steps: how many.
        rate: largest spectral norm of a step.
        watch: told each step after its projection.

    Raises:
        CertifyError: If training diverges.
    """
    optimizer = muon(network, rate=rate)
    for step in range(steps):
        factor = rate_factor(step, total=steps, warm_up=0.02, schedule="linear")
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        optimizer.zero_grad()
        found = loss(step)
        torch.autograd.backward(found)
        optimizer.step()
        refuse_infinite(float(found.detach()), place=f"step {step}")
        pull_back(network, place=f"step {step}")
        if watch is not None:
            watch(step)


@dataclass(frozen=True)
class Proved:
    """What ships of a signed network, and what was proved of it.

    Attributes:
        program: of the logits (-f/2, f/2).
        bounds: of the program.
    """

    program: Program
    bounds: Bounds

    @property
    def lipschitz_bound(self) -> float:
        """Of f."""
        return float(self.bounds.pair_bounds[0, 1])

    def values(
        self, points: Float[np.ndarray, "examples inputs"]
    ) -> Float[np.ndarray, " examples"]:
        """The function f at float32 points, in float64."""
        shaped = np.asarray(points, dtype=np.float32).reshape(-1, *self.program.input_shape)
        parts = [
            logits_in_float64(self.program, shaped[start : start + AT_ONCE])
            for start in range(0, len(shaped), AT_ONCE)
        ]
        logits = np.concatenate(parts)
        gaps: np.ndarray = logits[:, 1] - logits[:, 0]
        return gaps


def proved(network: SignedNetwork) -> Proved:
    """Export a network as it ships, and bound what the file says."""
    program = read_program(export_onnx(network.shipped(), (1, 1, network.inputs)))
    return Proved(program, prove(program))
