"""The gradient of a batch, in parts: one after another here, or shared out among a team.

A step's gradient is the sum of its parts' gradients in the order of the parts, whoever computed
them.  So the weights depend on how many parts there are and not on how many share them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.loss_spec import LossSpec
from models.networks.classifier import Classifier
from models.networks.losses.choice import loss_of
from models.train_spec import TrainSpec

Parts = list[tuple[Tensor, Tensor]]
"""Images and labels of each part of a batch."""


@dataclass(frozen=True)
class Team:
    """Those who train together, each with the same weights.

    Attributes:
        rank: which of them this is, from 0; part n is computed by rank n mod size.
        size: how many they are.
        gather: given what this one found, a row to each of its parts, what all found, in the
            order of the ranks; every rank is given the same bits.
    """

    rank: int
    size: int
    gather: Callable[
        [Float[Tensor, "mine numbers"]],
        Float[Tensor, "size mine numbers"],
    ]


def descend(
    network: Classifier,
    images: Float[Tensor, "batch channels height width"],
    labels: Int[Tensor, " batch"],
    *,
    train: TrainSpec,
    wanted: LossSpec,
    team: Team | None = None,
) -> Float[Tensor, ""]:
    """Leave the gradient of a batch's mean loss, computed part after part; the loss.

    The parts' means are weighted by their sizes, so a loss that is a mean over examples has the
    same gradient in any number of parts; KR and HKR take their classes' means within a part.

    Args:
        network: its gradients are there when this returns.
        images: the whole batch, to every member of a team.
        labels: their classes.
        train: how many parts, which precision.
        wanted: the loss, as it is at this step.
        team: who computes which parts; all of them here if left out.
    """
    counts = images.chunk(train.accumulate), labels.chunk(train.accumulate)
    parts = list(zip(*counts, strict=True))
    if team is None:
        total = torch.zeros((), device=images.device)
        for part in parts:
            total += _descend_part(network, part, examples=len(labels), train=train, wanted=wanted)
        return total
    return _descend_together(
        network, parts, examples=len(labels), train=train, wanted=wanted, team=team
    )


def _descend_together(
    network: Classifier,
    parts: Parts,
    *,
    examples: int,
    train: TrainSpec,
    wanted: LossSpec,
    team: Team,
) -> Float[Tensor, ""]:
    """The same sums, each part's gradient from whoever computed it."""
    weights = list(network.parameters())
    most = -(-len(parts) // team.size)
    numbers = 1 + sum(weight.numel() for weight in weights)
    found = torch.zeros(most, numbers, device=parts[0][0].device)
    for row, part in zip(found, parts[team.rank :: team.size], strict=False):
        network.zero_grad()
        row[0] = _descend_part(network, part, examples=examples, train=train, wanted=wanted)
        gradients = [
            torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights
        ]
        torch.cat([gradient.flatten() for gradient in gradients], out=row[1:])
    everyones = team.gather(found)
    total = everyones[0, 0]
    for number in range(1, len(parts)):
        total = total + everyones[number % team.size, number // team.size]
    place = 1
    for weight in weights:
        gradient = total[place : place + weight.numel()]
        weight.grad = gradient.reshape(weight.shape).clone()
        place += weight.numel()
    return total[0].clone()


def _descend_part(
    network: Classifier,
    part: tuple[Tensor, Tensor],
    *,
    examples: int,
    train: TrainSpec,
    wanted: LossSpec,
) -> Float[Tensor, ""]:
    """Add a part's share of the gradient to what is there; its share of the loss."""
    images, labels = part
    with torch.autocast(images.device.type, torch.bfloat16, enabled=train.precision == "bfloat16"):
        logits = network(images)
    loss = loss_of(wanted, logits.float(), labels, head=network.head.weight)
    weighted = loss * (len(labels) / examples)
    torch.autograd.backward(weighted)
    return weighted.detach()
