"""Which rivals an attack within ε may reach, as far as the bounds say.

A rival that provably stays behind the prediction everywhere within ε wins at no image that counts
as a break, so no targeted attack needs to aim at it.  Where that holds of every rival, the example
is certified and attacked to test that very claim: nothing that the bounds say is used then.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from models.attacks.aimed import Aiming
from models.attacks.effort import rows_at_once
from models.attacks.suite import target_classes
from models.proof.bounds import Bounds
from models.proof.certificate import input_norms, radii_by_rival
from models.proof.program import Program, logits_in_float64


def reachable_rivals(
    program: Program, bounds: Bounds, inputs: np.ndarray, *, eps: float
) -> Bool[np.ndarray, "examples classes"]:
    """Rivals that targeted attacks aim at: of the likeliest those not proven out of reach.

    Args:
        program: what is attacked.
        bounds: what was proved of it.
        inputs: float32 images in [0, 1], batch first.
        eps: L2 budget, in input units.

    Returns:
        As many as the suite has targets where the example is certified, and at most so many.
    """
    logits = logits_in_float64(program, inputs)
    far = radii_by_rival(logits, input_norms(inputs), bounds=bounds) > eps
    own = np.arange(program.classes) == logits.argmax(axis=1)[:, None]
    certified = (far | own).all(axis=1, keepdims=True)
    rivals = np.where(own, -np.inf, logits).argsort(axis=1)[:, ::-1]
    likeliest = np.zeros_like(own)
    np.put_along_axis(likeliest, rivals[:, : target_classes(program.classes)], True, axis=1)
    return np.asarray((certified | ~far) & likeliest)


def rivals_left_out(
    program: Program, bounds: Bounds, inputs: np.ndarray, *, eps: float
) -> Int[np.ndarray, " examples"]:
    """How many of the suite's targets are left out for each example."""
    aimed_at = reachable_rivals(program, bounds, inputs, eps=eps).sum(axis=1)
    return np.asarray(target_classes(program.classes) - aimed_at)


def aiming_within(program: Program, bounds: Bounds, *, eps: float, least: int) -> Aiming:
    """Targeted attacks that leave out the rivals proven out of reach.

    Args:
        program: what is attacked.
        bounds: what was proved of it.
        eps: L2 budget, in input units.
        least: rows that a batch may have in any case.
    """

    def worth(inputs: Tensor) -> Tensor:
        rivals = reachable_rivals(program, bounds, inputs.cpu().numpy(), eps=eps)
        return torch.from_numpy(rivals).to(inputs.device)

    return Aiming(worth, rows_at_once(program, least=least))
