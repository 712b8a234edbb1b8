"""Losses that see the certified radii: gaps of logits over distances of the head's rows.

Under a body of norm 1 the gap between two logits moves by at most ‖w_y - w_j‖ to a unit of the
input, so these two know what a margin is worth, and no norm of the head needs to be held.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

TINY = 1e-6  # least ‖w_y - w_j‖ that is divided by; nearer rows have a radius of no meaning
LEAST_SHARE = 0.01  # of ε, which a rival is lifted by even where it wins


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
    saturation: float | None = None,
) -> Float[Tensor, ""]:
    """Softened hinge on the certified radii: L = T log(1 + Σ exp((m - r_j) / T)) over rivals j.

    It does not change when the head is scaled, so neither a large head nor a small one helps:
    only radii count, and beyond `margin` they count no more.

    A body of norm 1 cannot give every example a radius, and a hinge pulls hardest at those that it
    can give none.  With a saturation c the loss of an example is c (1 - exp(-L / c)), nowhere above
    c: the slope of L fades to exp(-L / c) of itself, and what it pulled is left to the others.
    With p = exp(-L / T), the softmax's share of the true class, it is T (1 - p^q) / q at q = T / c.

    Args:
        logits: network outputs.
        labels: true classes, from 0.
        head: weight of the last layer, on a body of norm 1.
        margin: m, radius at which the pull fades, in input units.
        temperature: T, width of the fading, in input units.
        saturation: c, the most that one example can cost, in input units; no limit if left out.

    Returns:
        Mean loss over the batch, in input units; finite for any finite head.

    Source: of the saturation, Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep
    Neural Networks with Noisy Labels", NeurIPS 2018, arXiv:1805.07836.
    """
    shortfall = (margin - pair_radii(logits, labels, head=head)) / temperature
    itself = functional.one_hot(labels, logits.shape[1]).bool()
    shortfall = shortfall.masked_fill(itself, 0.0)
    if saturation is None:
        return temperature * functional.cross_entropy(shortfall, labels)
    each = temperature * functional.cross_entropy(shortfall, labels, reduction="none")
    return -saturation * torch.expm1(-each / saturation).mean()


def emma_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    *,
    head: Float[Tensor, "classes width"],
    eps: float,
) -> Float[Tensor, ""]:
    """Cross-entropy after each rival was lifted by what a step could give it (EMMA).

    Rival j gains ‖w_y - w_j‖ · ε · min(1, max(0.01, r_j / ε)): all that ε allows where the radius
    r_j is that large, and no more than the present radius elsewhere, so that an example that is
    still far from certified is not asked for everything at once.  The factor carries no gradient.

    Args:
        logits: network outputs.
        labels: true classes, from 0.
        head: weight of the last layer, on a body of norm 1.
        eps: radius to be certified in the end, in input units.

    Returns:
        Mean loss over the batch, in nats: the head's scale is the temperature.

    Source: Hu, Zou, Wang, Leino and Fredrikson, "Unlocking Deterministic Robustness Certification
    on ImageNet", NeurIPS 2023, arXiv:2301.12549, section 4.
    """
    radii = pair_radii(logits, labels, head=head).detach()
    lift = pair_distances(head)[labels] * eps * (radii / eps).clamp(LEAST_SHARE, 1.0)
    return functional.cross_entropy(logits + lift, labels)
