"""Losses for networks whose logits cannot grow at will.

A loss is in the units of its logits: a temperature T divides them and multiplies the result back,
so the gradient keeps the size of cross-entropy's at any T.  The literature's τ is 1 / T.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

TINY = 1e-6  # least ‖w_y - w_j‖ that is divided by; nearer rows have a radius of no meaning


def pair_distances(head: Float[Tensor, "classes width"]) -> Float[Tensor, "classes classes"]:
    """‖w_i - w_j‖ of every two rows, with a gradient of 0 where they are equal."""
    return torch.cdist(head, head, compute_mode="donot_use_mm_for_euclid_dist")


def pair_radii(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    *,
    head: Float[Tensor, "classes width"],
) -> Float[Tensor, "batch classes"]:
    """Signed distance to each rival, (z_y - z_j) / ‖w_y - w_j‖, under a body of norm 1.

    Args:
        logits: network outputs.
        labels: true classes, from 0.
        head: weight of the last layer.

    Returns:
        Radii in input units, negative where the rival wins; 0 at the label itself.

    Source: Leino, Wang and Fredrikson, "Globally-Robust Neural Networks", ICML 2021,
    arXiv:2102.08452.
    """
    gap = logits.gather(1, labels[:, None]) - logits
    return gap / pair_distances(head)[labels].clamp_min(TINY)


def certified_radius_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    *,
    head: Float[Tensor, "classes width"],
    margin: float,
    temperature: float,
) -> Float[Tensor, ""]:
    """Softened hinge on the certified radii: T log(1 + Σ exp((m - r_j) / T)) over the rivals j.

    It does not change when the head is scaled, so neither a large head nor a small one helps:
    only radii count, and beyond `margin` they count no more.

    Args:
        logits: network outputs.
        labels: true classes, from 0.
        head: weight of the last layer, on a body of norm 1.
        margin: m, radius at which the pull fades, in input units.
        temperature: T, width of the fading, in input units.

    Returns:
        Mean loss over the batch, in input units; finite for any finite head.
    """
    shortfall = (margin - pair_radii(logits, labels, head=head)) / temperature
    itself = functional.one_hot(labels, logits.shape[1]).bool()
    return temperature * functional.cross_entropy(shortfall.masked_fill(itself, 0.0), labels)


def cross_entropy_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of 1-Lipschitz logits at a temperature: T · CE(z / T).

    With τ = 1 / T this is the literature's (1/τ) · CE(τ z).

    Args:
        logits: network outputs, in logit units.
        labels: true classes, from 0.
        temperature: T, in logit units; near 0 the loss is the hinge max_j z_j - z_y, blind to
            margins, and a large one asks for all the margin there is.

    Returns:
        Mean loss over the batch, in logit units.

    Source: Béthune et al., "Pay Attention to Your Loss", NeurIPS 2022, arXiv:2104.05097.
    """
    return temperature * functional.cross_entropy(logits / temperature, labels)
