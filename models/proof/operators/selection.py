"""The operator that picks entries by their place: Slice, Gather, Expand, Tile, Pad, nearest Resize.

Along each axis the entries of the result are named by their place in the operand, or by `PAD`.
An entry that is used k times in all counts k times in a squared distance, so distances grow by at
most the root of the largest count, and by exactly that where only such an entry moves.
"""

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from models.proof.operators.lines import PAD
from models.proof.operators.operator import Operator, Stretch
from models.proof.upward import up, up_sqrt


@dataclass(frozen=True, kw_only=True)
class Selection(Operator):
    """Entries picked along each axis behind the batch.

    Attributes:
        indices: places along each axis behind the batch; None leaves an axis as it is.
        value: what stands at `PAD`.
    """

    indices: tuple[tuple[int, ...] | None, ...]
    value: float = 0.0

    def run(self, *values: Tensor) -> Tensor:
        """One axis after the other; what was padded stays the same value."""
        x = values[0]
        for axis, places in enumerate(self.indices, start=1):
            if places is not None:
                x = picked(x, axis, places, filled_with=self.value)
        return x

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """The root of how often an entry is used, counted."""
        chosen = [places for places in self.indices if places is not None]
        most = math.prod(max(uses(places)) for places in chosen)
        copied = math.prod(
            side if places is None else sum(uses(places))
            for side, places in zip(shape, self.indices, strict=True)
        )
        padded = up(abs(self.value) * math.sqrt(math.prod(shape) - copied), 2)
        return Stretch(
            method="times that an entry is used",
            factor=up_sqrt(most),
            offset=padded if self.value else 0.0,
            exact=True,
        )


def picked(x: Tensor, axis: int, places: tuple[int, ...], *, filled_with: float) -> Tensor:
    """Entries of an axis by their places; at `PAD` a constant."""
    index = torch.tensor(places, device=x.device)
    if min(places) > PAD:
        return x.index_select(axis, index)
    inside = (index != PAD).view(-1, *[1] * (x.dim() - axis - 1))
    return x.index_select(axis, index.clamp_min(0)).where(inside, filled_with)


def uses(places: tuple[int, ...]) -> tuple[int, ...]:
    """How often each entry that is used at all is used; one 0 where none is."""
    counts = Counter(places)
    del counts[PAD]
    return tuple(counts.values()) or (0,)
