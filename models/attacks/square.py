"""Square attack's L2 search with the authors' arithmetic and a third of their passes over memory.

Images that still hold are kept together and gathered again only when one of them falls; a window
is drawn once for each side; a proposal is built in place.  Every random number is drawn where the
authors draw it and every sum adds the same entries in the same order, so images come out equal to
theirs, bit for bit: tests hold one against the other.

Source: Andriushchenko, Croce, Flammarion and Hein, "Square Attack: a query-efficient black-box
adversarial attack via random search", ECCV 2020, arXiv:1912.00049; package pyautoattack.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

TINY = 1e-12
Box = tuple[slice, slice, slice, slice]


def square_search(attack: Any, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Stand in for `attack_single_run` of the authors' attack, with its settings and generator.

    Args:
        attack: the authors' L2 Square attack.
        inputs: images that are classified right.
        labels: their classes.

    Returns:
        Queries that each image took, and the images with the least margin that were met.
    """
    with torch.no_grad():
        windows = _drawn_windows(attack)
        margins_of = _margins(attack)
        delta = _first_step(inputs, windows)
        best = torch.clamp(inputs + _unit(delta) * attack.eps, 0.0, 1.0)
        margins = margins_of(best, labels)
        queries = torch.ones(len(inputs), device=inputs.device)
        if bool((margins < 0).all()):
            return queries, best
        found, holding = best.clone(), torch.arange(len(inputs), device=inputs.device)
        for query in range(attack.n_queries):
            still = margins > 0
            if not bool(still.all()):
                found[holding] = best
                holding, inputs, labels = holding[still], inputs[still], labels[still]
                best, margins = best[still], margins[still]
            if not len(holding):
                break
            proposal = _proposal(attack, inputs, best, windows, query=query)
            proposed = margins_of(proposal, labels)
            better = (proposed < margins) | (proposed <= 0)
            margins = torch.where(better, proposed, margins)
            rows = better.nonzero()[:, 0]
            if len(rows):
                best[rows] = proposal[rows]
            queries[holding] += 1
        found[holding] = best
        return queries, found


def _proposal(
    attack: Any,
    inputs: Tensor,
    best: Tensor,
    windows: Callable[[int], Tensor],
    *,
    query: int,
) -> Tensor:
    """One window of the step is emptied, its length put into another, and the step made ε long."""
    channels, height, width = inputs.shape[1:]
    step = best - inputs
    side = _side(attack, inputs, query=query)
    filled = _random_box(height, width, side)
    emptied = _random_box(height, width, side)
    mask = torch.zeros(height, width, device=inputs.device)
    mask[filled[2:]] = 1.0
    mask[emptied[2:]] = 1.0
    squares = step**2
    length = squares.view(len(step), -1).sum(-1).sqrt().view(-1, 1, 1, 1)
    both = (squares * mask).sum(dim=(-2, -1), keepdim=True).sqrt()
    old = step[filled]
    signed = windows(side) * _signs(len(step), channels, inputs)
    new = signed.contiguous() + old / (TINY + (old**2).sum(dim=(-2, -1), keepdim=True).sqrt())
    budget = (attack.eps * torch.ones_like(length)) ** 2
    room = (torch.clamp_min(budget - length**2, 0) / channels + both**2).sqrt()
    new = new / (TINY + (new**2).sum(dim=(-2, -1), keepdim=True).sqrt()) * room
    step[emptied] = 0.0
    step[filled] = new
    whole = (step**2).view(len(step), -1).sum(-1).sqrt().view(-1, 1, 1, 1) + TINY
    return step.div_(whole).mul_(attack.eps).add_(inputs).clamp_(0.0, 1.0)


def _first_step(inputs: Tensor, windows: Callable[[int], Tensor]) -> Tensor:
    """Windows of a fifth of the side, side by side, each with a sign of its own.

    Six or seven of them do not fit some sides, 12, 14 and 24 for example, where the authors' code
    ends in an error; here the last one is cut off.
    """
    channels, height, width = inputs.shape[1:]
    side = height // 5
    margin = (height - side * 5) // 2
    step = torch.zeros_like(inputs)
    for down in range(height // side):
        for across in range(width // side):
            top, left = margin + down * side, margin + across * side
            tile = windows(side) * _signs(len(inputs), channels, inputs)
            inside = slice(top, top + side), slice(left, left + side)
            step[:, :, *inside] += tile[:, :, : height - top, : width - left]
    return step


def _drawn_windows(attack: Any) -> Callable[[int], Tensor]:
    """Draws a window of a side: two bumps of opposite sign, in one of two directions."""
    kept: dict[int, Tensor] = {}

    def window(side: int) -> Tensor:
        if side not in kept:
            upper = side // 2
            bumps = torch.zeros([side, side], device=attack.device)
            bumps[:upper] = attack.eta_rectangles(upper, side)
            bumps[upper:] = -1.0 * attack.eta_rectangles(side - upper, side)
            kept[side] = bumps / (bumps**2).sum(dim=(0, 1), keepdim=True).sqrt()
        return kept[side].T if bool(torch.rand([1]) > 0.5) else kept[side]

    return window


def _margins(attack: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Logit of the label over the largest other one."""

    def margins(images: Tensor, labels: Tensor) -> Tensor:
        logits: Tensor = attack.predict(images)
        kept = logits.gather(1, labels[:, None])
        others = logits.scatter(1, labels[:, None], -math.inf)
        return kept[:, 0] - others.max(dim=-1).values

    return margins


def _side(attack: Any, inputs: Tensor, *, query: int) -> int:
    """Side of the windows, odd, falling with the queries."""
    channels, height, width = inputs.shape[1:]
    area = attack.p_selection(query) * (channels * height * width) / channels
    side = max(round(math.sqrt(area)), 3)
    return min(side + (side % 2 == 0), height, width)


def _random_box(height: int, width: int, side: int) -> Box:
    """Where a window lies."""
    top, left = (int((room - side) * torch.rand([1])) for room in (height, width))
    return slice(None), slice(None), slice(top, top + side), slice(left, left + side)


def _signs(count: int, channels: int, like: Tensor) -> Tensor:
    """A sign to each image and channel."""
    return torch.sign(2 * torch.rand([count, channels, 1, 1]).to(like.device) - 1)


def _unit(step: Tensor) -> Tensor:
    """Steps of length 1."""
    length = (step**2).view(len(step), -1).sum(-1).sqrt()
    return step / (length.view(-1, 1, 1, 1) + TINY)
