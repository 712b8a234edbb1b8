"""A crossing: images, the class that each is to leave, and the rival that it is to reach.

What is looked for is the image nearest to each original at which its rival's logit exceeds that of
its own class.  Methods differ in how they move; what they keep is the same.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.proof.directions import lengths, spread
from models.proof.program import Program


@dataclass(frozen=True)
class Crossing:
    """Rows to be moved across a boundary, each with a rival of its own.

    Attributes:
        program: run in the dtype of the originals.
        originals: in [0, 1], batch first.
        own: class that each row leaves.
        rival: class that it is to reach.
    """

    program: Program
    originals: Tensor
    own: Int[Tensor, " rows"]
    rival: Int[Tensor, " rows"]

    def rows(self, chosen: Tensor) -> "Crossing":
        """The rows at `chosen`, in that order."""
        return Crossing(self.program, self.originals[chosen], self.own[chosen], self.rival[chosen])

    def slope(self, images: Tensor) -> tuple[Float[Tensor, " rows"], Tensor]:
        """The rival's logit over the own class's, and its gradient by the image."""
        images = images.detach().requires_grad_()
        gap = self._gap(images)
        (gradient,) = torch.autograd.grad(gap.sum(), images)
        return gap.detach(), gradient

    def gap(self, images: Tensor) -> Float[Tensor, " rows"]:
        """The rival's logit over the own class's: positive beyond the boundary."""
        with torch.inference_mode():
            return self._gap(images)

    def _gap(self, images: Tensor) -> Tensor:
        logits = self.program(images)
        return (
            logits.gather(1, self.rival[:, None])[:, 0] - logits.gather(1, self.own[:, None])[:, 0]
        )


@dataclass(frozen=True)
class Nearest:
    """The nearest images beyond the boundary so far; at an infinite distance where none is."""

    images: Tensor
    distances: Float[Tensor, " rows"]

    @classmethod
    def none_of(cls, crossing: Crossing) -> "Nearest":
        """Nothing found yet."""
        start = crossing.originals
        return cls(start, torch.full((len(start),), torch.inf, device=start.device))

    def rows(self, chosen: Tensor) -> "Nearest":
        """The rows at `chosen`, in that order."""
        return Nearest(self.images[chosen], self.distances[chosen])

    def after(self, crossing: Crossing, images: Tensor, gap: Tensor) -> "Nearest":
        """With those of `images` that are beyond the boundary and nearer."""
        far = lengths(images - crossing.originals).flatten()
        better = (gap > 0) & (far < self.distances)
        return Nearest(
            torch.where(spread(better, images), images, self.images),
            torch.where(better, far, self.distances),
        )


def bisected(crossing: Crossing, images: Tensor, *, halvings: int) -> Nearest:
    """Points of the segments from the originals to `images`, hardly beyond the boundary.

    The end of a segment must be beyond it; a row where it isn't finds nothing.
    """
    step = images - crossing.originals
    inside = torch.zeros(len(images), device=images.device)
    beyond = torch.ones_like(inside)
    nearest = Nearest.none_of(crossing).after(crossing, images, crossing.gap(images))
    for _ in range(halvings):
        middle = (inside + beyond) / 2
        point = (crossing.originals + spread(middle, images) * step).clamp(0, 1)
        gap = crossing.gap(point)
        nearest = nearest.after(crossing, point, gap)
        beyond = torch.where(gap > 0, middle, beyond)
        inside = torch.where(gap > 0, inside, middle)
    return nearest
