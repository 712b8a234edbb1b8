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
        self,
        function: Callable[[Tensor], Tensor],
        inverse: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.function = function
        self.inverse = inverse

    def forward(self, free: Tensor) -> Tensor:
        """The weight."""
        return self.function(free)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The free tensor to begin with, from an assigned weight; that weight itself if unsaid."""
        return weight if self.inverse is None else self.inverse(weight)


def constrain(
    layer: Layer,
    function: Callable[[Tensor], Tensor],
    *,
    name: str = "weight",
    inverse: Callable[[Tensor], Tensor] | None = None,
) -> Layer:
    """Make a layer's weight a function of a free tensor; the layer itself is changed.

    Args:
        layer: any torch layer.
        function: gives the weight, such as `cayley`.
        name: of the weight.
        inverse: gives the free tensor from the layer's present weight, where the shapes differ.
    """
    parametrize.register_parametrization(layer, name, Constraint(function, inverse))
    return layer
