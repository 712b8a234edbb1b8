"""Upper bounds on norms that a gradient can pass through: what scales a weight while it trains.

They hold up to the rounding of their type.  No certificate rests on them.
"""

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

SQUARINGS = 4


def gram_bound(W: Inexact[Tensor, "*stack out in"]) -> Float[Tensor, "*stack"]:
    """‖(WᴴW)^(2^t)‖_F^(1/2^(t+1)), t = 4: at least σ(W), and at most rank^(1/64) times as much.

    Args:
        W: real or complex matrices.

    Source: Delattre et al., "Efficient Bound of Lipschitz Constant for Convolutional Layers by
    Gram Iteration", ICML 2023, arXiv:2305.16173.
    """
    gram = W.mH @ W if W.shape[-2] >= W.shape[-1] else W @ W.mH
    logarithm = torch.zeros((), dtype=W.real.dtype, device=W.device)
    for place in range(SQUARINGS + 1):
        norm = torch.linalg.matrix_norm(gram).clamp_min(torch.finfo(gram.dtype).tiny)
        logarithm = logarithm + norm.log() / 2 ** (place + 1)
        gram = gram / norm[..., None, None]
        if place < SQUARINGS:
            gram = gram @ gram
    return logarithm.exp()
