"""FAB's search towards a class for each row, with the authors' arithmetic.

The authors aim a whole batch at the classes of one rank; here each row comes with its own rival, so
that several rivals of an image can share a batch.  With one rival there is nothing to choose, so
the candidates' axis is gone.  Given the rivals that the authors would take, images come out equal
to theirs, bit for bit: tests hold one against the other.

Source: Croce and Hein, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary
Attack", ICML 2020, arXiv:1907.02044; package pyautoattack.
"""

from typing import Any

import torch
from torch import Tensor

from models.attacks.projection import nearest_steps

NOWHERE = 1e10
"""Distance of what was not found."""
SHORTEST = 1e-8
"""Least length that a step counts with."""


def fab_search(attack: Any, inputs: Tensor, labels: Tensor, rivals: Tensor) -> Tensor:
    """The nearest images of another class that were met, at any distance.

    Args:
        attack: the authors' FAB attack, with its settings.
        inputs: images, batch first; one that is classified wrong stays as it is.
        labels: their classes.
        rivals: class that each is moved towards.

    Returns:
        Images; the originals where nothing was found.
    """
    right = (_answers(attack, inputs) == labels).nonzero()[:, 0]
    found = inputs.clone()
    if len(right):
        found[right] = _search(attack, inputs[right], labels[right], rivals[right])
    return found


def fab_at_rank(
    attack: Any, inputs: Tensor, labels: Tensor, *, use_rand_start: bool, is_targeted: bool
) -> Tensor:
    """Stand in for `attack_single_run` of the authors' targeted FAB: one rank for all images.

    Raises:
        ValueError: If asked for a random start, or for all rivals at once.
    """
    if use_rand_start or not is_targeted:
        raise ValueError("found a random start or no target; accepted are targets alone")
    order = attack.predict(inputs).sort(dim=-1).indices
    return fab_search(attack, inputs, labels, order[:, -attack.target_class])


def _search(attack: Any, originals: Tensor, labels: Tensor, rivals: Tensor) -> Tensor:
    """The same for rows that are all of them classified right."""
    count, flat = len(originals), originals.flatten(1)
    one_each = (-1, *[1] * (originals.dim() - 1))
    nearest, distances = originals.clone(), torch.full((count,), NOWHERE, device=originals.device)
    current = originals
    for _ in range(attack.n_iter):
        lead, slope = _lead(attack, current, labels, rivals)
        offsets = (slope * current).flatten(1).sum(dim=-1).sub_(lead)
        normals = slope.flatten(1)
        steps = nearest_steps(
            torch.cat((current.flatten(1), flat)),
            torch.cat((normals, normals)),
            torch.cat((offsets, offsets)),
        )
        reach = (steps**2).sum(dim=1).sqrt_().clamp_min_(SHORTEST).view(one_each)
        share = reach[:count] / (reach[:count] + reach[count:])
        share.clamp_min_(0.0).clamp_max_(attack.alpha_max)
        here, there = (part.view_as(originals) for part in (steps[:count], steps[count:]))
        ahead = here.mul_(attack.eta).add_(current).mul_(1 - share)
        back = there.mul_(attack.eta).add_(originals).mul_(share)
        current = ahead.add_(back).clamp_(0.0, 1.0)
        across = (_answers(attack, current) != labels).nonzero()[:, 0]
        if len(across):
            moved = current[across] - originals[across]
            far = (moved**2).flatten(1).sum(dim=-1).sqrt_()
            nearer = far < distances[across]
            nearest[across[nearer]] = current[across[nearer]]
            distances[across[nearer]] = far[nearer]
            current[across] = moved.mul_(attack.beta).add_(originals[across])
    return nearest


def _lead(attack: Any, images: Tensor, labels: Tensor, rivals: Tensor) -> tuple[Tensor, Tensor]:
    """The rival's logit over the label's, and its gradient by the image."""
    images = images.detach().requires_grad_()
    rows = torch.arange(len(images), device=images.device)
    with torch.enable_grad():
        logits = attack.predict(images)
        lead = -(logits[rows, labels] - logits[rows, rivals])
        (slope,) = torch.autograd.grad(lead.sum(), images)
    return lead.detach(), slope


def _answers(attack: Any, images: Tensor) -> Tensor:
    with torch.no_grad():
        classes: Tensor = attack.predict(images).max(dim=1).indices
    return classes
