"""Operators that move entries."""

from dataclasses import dataclass

from torch import Tensor

from models.proof.operators.operator import Operator, Stretch


@dataclass(frozen=True, kw_only=True)
class Move(Operator):
    """Entries change places, or some are left out: Reshape, Flatten, Transpose, a part of a Split.

    Exactly one of the three is given: the example's new shape, the order of its axes (batch
    included), or the axis, start and stop of a crop.
    """

    reshape: tuple[int, ...] | None = None
    order: tuple[int, ...] | None = None
    crop: tuple[int, int, int] | None = None

    def run(self, *values: Tensor) -> Tensor:
        """The same entries elsewhere."""
        x = values[0]
        if self.reshape is not None:
            return x.reshape(len(x), *self.reshape)
        if self.order is not None:
            return x.permute(self.order)
        if self.crop is not None:
            axis, start, stop = self.crop
            return x.narrow(axis, start, stop - start)
        return x

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """No entry is used twice."""
        return Stretch(method="no entry is used twice", exact=True)
