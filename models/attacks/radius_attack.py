"""Attack each example inside its own certified ball: the attack that speaks of the certificate.

AutoAttack asks at one ε for all; a certificate has a radius of its own for each example.  Here
projected gradient ascent with momentum raises z_j - z_c for every rival j inside that very radius,
with a step that halves, example by example, where it stops to pay.  Nothing is to be found: one
confirmed find refutes the bound.

Source: the step rule follows APGD of Croce and Hein, ICML 2020, arXiv:2003.01690, section 3.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.attacks.effort import Ascent, affordable_ascent
from models.proof.directions import TINY, lengths, spread, unit
from models.proof.program import Program

PATIENCE = 5
"""Steps without a gain before an example's step is halved."""
MOMENTUM = 0.75


@dataclass(frozen=True)
class Finds:
    """The best of all restarts and rivals, in the order of the batch.

    Attributes:
        images: float32, within about the radius of the originals and inside [0, 1].
        gaps: rival's logit over the certified class's there, in float32; positive is a claim.
    """

    images: np.ndarray
    gaps: Float[np.ndarray, " examples"]


def attack_radii(
    program: Program,
    inputs: np.ndarray,
    predictions: Int[np.ndarray, " examples"],
    radii: Float[np.ndarray, " examples"],
    *,
    seed: int,
    effort: Ascent | None = None,
    device: str = "cpu",
) -> Finds:
    """Look for another class inside each example's radius.

    Args:
        program: what was certified; run in float32.
        inputs: float32 images in [0, 1], batch first.
        predictions: certified classes, right or wrong.
        radii: L2, in input units; 0 keeps the image as it is.
        seed: of the starts; the batch is part of what they depend on.
        effort: how long to climb, towards the likeliest rivals; as long as the program's size
            allows if left out.  The first start is at the image, others at random in the ball.
        device: torch's name of the device to run on.

    Returns:
        What came closest to another class; the claims need a recheck.
    """
    noise = torch.Generator().manual_seed(seed)
    originals = torch.from_numpy(np.ascontiguousarray(inputs)).to(device)
    own = torch.from_numpy(np.asarray(predictions, dtype=np.int64)).to(device)
    budget = torch.from_numpy(np.asarray(radii, dtype=np.float32)).to(device)
    ball = _Balls(originals, spread(budget, originals))
    best = originals.clone()
    best_gap = torch.full((len(own),), -torch.inf, device=device)
    effort = effort or affordable_ascent(program)
    with torch.inference_mode():
        logits = program(originals).scatter(1, own[:, None], -torch.inf)
    rivals = logits.topk(effort.rivals, dim=1).indices
    for restart in range(effort.restarts):
        for rival in rivals.clone().unbind(1):
            start = originals
            if restart:
                step = unit(torch.randn(originals.shape, generator=noise).to(device))
                length = torch.rand(ball.radii.shape, generator=noise).to(device)
                start = ball.nearer(originals + length * ball.radii * step)
            found, gap = _ascend(program, ball, start, own=own, rival=rival, steps=effort.steps)
            better = gap > best_gap
            best[better], best_gap[better] = found[better], gap[better]
    return Finds(best.cpu().numpy(), best_gap.double().cpu().numpy())


@dataclass(frozen=True)
class _Balls:
    """A ball to each example, cut to [0, 1]."""

    centres: Tensor
    radii: Tensor

    def nearer(self, images: Tensor) -> Tensor:
        """Images brought inside; clipping to [0, 1] takes none farther from its centre."""
        step = images - self.centres
        shorter = step * (self.radii / lengths(step).clamp_min(TINY)).clamp_max(1)
        return (self.centres + shorter).clamp(0, 1)


def _ascend(
    program: Program, balls: _Balls, start: Tensor, *, own: Tensor, rival: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """The image with the largest gap on the way, and that gap."""
    current, before = start, start
    size = 2 * balls.radii
    best, best_gap = start, torch.full((len(own),), -torch.inf, device=start.device)
    waited = torch.zeros(len(own), device=start.device)
    for _ in range(steps + 1):
        current = current.detach().requires_grad_()
        logits = program(current)
        gap = logits.gather(1, rival[:, None])[:, 0] - logits.gather(1, own[:, None])[:, 0]
        (slope,) = torch.autograd.grad(gap.sum(), current)
        with torch.no_grad():
            better = gap > best_gap
            best = torch.where(spread(better, start), current, best)
            best_gap = torch.maximum(gap, best_gap)
            waited = torch.where(better, 0, waited + 1)
            tired = waited >= PATIENCE
            size = torch.where(spread(tired, start), size / 2, size)
            current = torch.where(spread(tired, start), best, current)
            waited = torch.where(tired, 0, waited)
            ahead = balls.nearer(current + size * unit(slope))
            along = current + MOMENTUM * (ahead - current) + (1 - MOMENTUM) * (current - before)
            before, current = current, balls.nearer(along)
    return best.detach(), best_gap.detach()
