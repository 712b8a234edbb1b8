"""Operators that sort: the k largest or smallest entries of an axis, in order."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.proof.operators.operator import Operator, Stretch


@dataclass(frozen=True, kw_only=True)
class TopK(Operator):
    """The first k entries of a sorted axis; its places are no activation.

    Attributes:
        axis: not the batch.
        k: entries kept; all of them make it a sort.
        largest: whether from the largest down, or else from the smallest up.
    """

    axis: int
    k: int
    largest: bool

    def run(self, *values: Tensor) -> Tensor:
        """Values in order."""
        return torch.topk(values[0], self.k, dim=self.axis, largest=self.largest).values

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """Sorting brings no two vectors apart: of all pairings the sorted one is the closest."""
        return Stretch(method="part of a sort")
