"""What ships: a network's layers as torch's own, with plain float32 weights.

A held weight is at its exact end, a parametrized one is what its function gives in float64, and a
layer that has a form of its own to ship is in that form.
"""

import copy
from typing import Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn.utils import parametrize

from models.networks.holding import manifolds


@runtime_checkable
class Ships(Protocol):
    """A layer that ships in another form than it trains in."""

    def shipped(self) -> nn.Module:
        """The same function in torch's own layers, weights rounded to float32 once."""


@torch.no_grad()
def shipped(layer: nn.Module) -> nn.Module:
    """A copy of a layer, and of all within it, as it ships.

    Returns:
        The same function up to rounding and to what held weights had drifted, on the processor
        and in eval mode.
    """
    if isinstance(layer, Ships):
        return layer.shipped().cpu().eval()
    twin = copy.deepcopy(layer).cpu().double()
    for name, manifold in manifolds(twin).items():
        weight = twin.get_parameter(name)
        weight.copy_(manifold.end(weight))
    if parametrize.is_parametrized(twin):
        _settle(twin)
    for name, child in layer.named_children():
        if name != "parametrizations":
            setattr(twin, name, shipped(child))
    return twin.float().eval()


def _settle(twin: nn.Module) -> None:
    """Parameters in place of what gives them.

    Torch's own `remove_parametrizations` changes the class, which the layer that trains shares.
    """
    names = [name for name, _ in twin.get_submodule("parametrizations").named_children()]
    weights = {name: getattr(twin, name).detach().clone() for name in names}
    del twin.parametrizations
    twin.__class__ = type(twin).__bases__[0]
    for name, weight in weights.items():
        twin.register_parameter(name, nn.Parameter(weight))
