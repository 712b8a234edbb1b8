"""Muon on the manifold: every step turns a held weight along all directions alike.

Adam measures a gradient entry by entry, which says little of a matrix that may only turn: it goes
far along the few directions that its steps agree on, and has to be pulled back from there.  A step
of Muon has the spectral norm that it is asked for, so that a weight stays near by itself.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.networks.holding import Held, free_weights, held_weights

BETAS = (0.9, 0.99)  # Adam's, for what is not held
MOMENTUM = 0.95
REST = 0.15
"""Adam's learning rate for what is not held, as a share of the held weights' rate."""


class Muon(torch.optim.Adam):
    """Steps along their manifolds for held weights, Adam's for all others.

    A group with a key `held` has the `Held` of each of its parameters there; its `lr` is the
    spectral norm of a step, and `bfloat16` says whether the products that find one are cast to it.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of every parameter that has a gradient; those of held weights are used up.

        Args:
            closure: handed on to Adam; held weights go by the gradients that are there.
        """
        for group in self.param_groups:
            for held in group.get("held", ()):
                weight = held.parameter
                if weight.grad is not None:
                    cast = group.get("bfloat16", False)
                    with torch.autocast(weight.device.type, torch.bfloat16, enabled=cast):
                        _turn(held, weight.grad, self.state[weight], rate=group["lr"])
                    weight.grad = None
        return super().step(closure)


def _turn(held: Held, gradient: Tensor, moments: dict[str, Any], *, rate: float) -> None:
    """A held weight one step further; its momentum is where Adam has its mean gradient."""
    weight = held.parameter
    if "exp_avg" not in moments:
        moments["exp_avg"] = torch.zeros_like(weight)
    momentum = moments["exp_avg"].lerp_(gradient, 1 - MOMENTUM)
    ahead = torch.lerp(gradient, momentum, MOMENTUM)  # Nesterov's: as it will be a step further
    weight.sub_(held.manifold.steepest(weight, ahead), alpha=rate)


def muon(network: nn.Module, *, rate: float, bfloat16: bool = False) -> Muon:
    """The optimiser of a network's held weights, and of its others.

    Args:
        network: to be trained.
        rate: the largest spectral norm of a step.
        bfloat16: whether the products that find a step are cast to it; momenta and weights stay
            float32.

    Returns:
        One whose groups have their largest rate in `peak`; `lr` is to be set from it.
    """
    held = list(held_weights(network))
    groups = [
        {"params": free_weights(network), "peak": rate * REST},
        {
            "params": [weight.parameter for weight in held],
            "held": held,
            "peak": rate,
            "bfloat16": bfloat16,
        },
    ]
    return Muon(groups, lr=rate, betas=BETAS, fused=True)
