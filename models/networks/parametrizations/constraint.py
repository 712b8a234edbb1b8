"""A weight as a function of a free tensor, in any torch layer.

Registered with `torch.nn.utils.parametrize`: the layer stays torch's, its optimiser sees the free
tensor, and what ships is what the function gives.
"""

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

Layer = TypeVar("Layer", bound=nn.Module)


class Constraint(nn.Module):
    """A function of a free tensor as a parametrization."""

    def __init__(
        self, function: Callable[[Tensor], Tensor], start: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.function = function
        self.start = start

    def forward(self, free: Tensor) -> Tensor:
        """The weight."""
        return self.function(free)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The free tensor to begin with, from an assigned weight; that weight itself if unsaid."""
        return weight if self.start is None else self.start(weight)


def constrain(
    layer: Layer,
    function: Callable[[Tensor], Tensor],
    *,
    name: str = "weight",
    start: Callable[[Tensor], Tensor] | None = None,
) -> Layer:
    """Make a layer's weight a function of a free tensor; the layer itself is changed.

    Args:
        layer: any torch layer.
        function: gives the weight, such as `cayley`.
        name: of the weight.
        start: gives the free tensor from the layer's present weight, where the shapes differ.
    """
    parametrize.register_parametrization(layer, name, Constraint(function, start))
    return layer
