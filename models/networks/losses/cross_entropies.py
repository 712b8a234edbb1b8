"""Cross-entropy of logits that cannot grow: with a temperature, an offset, an annealed slope."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


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


def binary_cross_entropy_loss(
    signed: Float[Tensor, " batch"], labels: Int[Tensor, " batch"], *, temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy of two classes told by a sign: T · BCE(f / T).

    It is `cross_entropy_loss` of the logits (0, f).

    Args:
        signed: a 1-Lipschitz f, positive for class 1.
        labels: 0 or 1.
        temperature: T, in the units of f.

    Returns:
        Mean loss over the batch, in the units of f.

    Source: Béthune et al., arXiv:2104.05097.
    """
    logits = torch.stack((torch.zeros_like(signed), signed), dim=1)
    return cross_entropy_loss(logits, labels, temperature=temperature)


def offset_cross_entropy_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    *,
    offset: float,
    temperature: float,
) -> Float[Tensor, ""]:
    """Cross-entropy after the true class was handicapped by an offset.

    Plain cross-entropy of bounded logits never saturates and goes on trading accuracy for margin;
    here the pull fades once the gap to every rival passes `offset`.

    Args:
        logits: network outputs, in logit units.
        labels: true classes, from 0.
        offset: gap at which the pull fades, in logit units; √2 ε to certify at ε under logits
            that are 1-Lipschitz together.
        temperature: T, width of the fading, in logit units.

    Returns:
        Mean loss over the batch, in logit units.

    Source: Prach and Lampert, "Almost-Orthogonal Layers for Efficient General-Purpose Lipschitz
    Networks", ECCV 2022, arXiv:2208.03160, section 5.
    """
    handicapped = _handicapped(logits, labels, offset=offset)
    return cross_entropy_loss(handicapped, labels, temperature=temperature)


def logit_annealing_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    *,
    offset: float,
    temperature: float,
    exponent: float,
) -> Float[Tensor, ""]:
    """Offset cross-entropy whose pull is annealed: T (1 - p)^β (-log p) of p, the true class's.

    A network of little capacity cannot give a large margin to every example; the factor
    (1 - p)^β takes the pull off those that have one, so that it is left for the others.

    Args:
        logits: network outputs, in logit units.
        labels: true classes, from 0.
        offset: ξ, taken from the true class's logit, in logit units.
        temperature: T, in logit units.
        exponent: β, at least 1, or 0: the offset cross-entropy.  Between, the slope at p = 1 is
            infinite.

    Returns:
        Mean loss over the batch, in logit units.

    Source: Lai et al., "Enhancing Certified Robustness via Block Reflector Orthogonal Layers and
    Logit Annealing Loss", ICML 2025, arXiv:2505.15174, section 5.
    """
    handicapped = _handicapped(logits, labels, offset=offset) / temperature
    surprise = functional.cross_entropy(handicapped, labels, reduction="none")
    missing = -torch.expm1(-surprise)  # 1 - p, also where p is next to 1
    return temperature * (missing.pow(exponent) * surprise).mean()


def _handicapped(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], *, offset: float
) -> Float[Tensor, "batch classes"]:
    return logits - offset * functional.one_hot(labels, logits.shape[1])
