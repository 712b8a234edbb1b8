"""HKR against the strongest rivals: by a softmax over them, or by their log-sum-exp.

One class against all others spreads the pull over rivals that are long beaten.  Here the true
logit stands against one number for all rivals, a smooth maximum of theirs.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def soft_hkr_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    *,
    margin: float,
    alpha: float,
    temperature: float,
) -> Float[Tensor, ""]:
    """HKR with rivals weighted by p = softmax(z / T): Σ_j p_j z_j - z_y + α · hinge.

    The hinge is max(0, m - z_y) + Σ_j p_j max(0, m + z_j).  torchlip's temperature is 1 / T as
    long as the mean |z| is below its `min_margin`; beyond, it follows a running mean of |z|, which
    a pure function has not.

    Args:
        logits: each 1-Lipschitz by itself.
        labels: true classes, from 0.
        margin: m, in logit units.
        alpha: α, weight of the hinge, 0 or more.
        temperature: T, in logit units; near 0 only the strongest rival counts.

    Returns:
        Mean loss over the batch, in logit units.

    Source: Serrurier, Mamalet, Fel, Béthune and Boissin, "On the Explainable Properties of
    1-Lipschitz Neural Networks: An Optimal Transport Perspective", NeurIPS 2023,
    arXiv:2206.06854.
    """
    itself, own = _own(logits, labels)
    share = (logits / temperature).masked_fill(itself, -torch.inf).softmax(dim=1)
    hinge = (margin - own).relu() + (share * (margin + logits).relu()).sum(dim=1)
    return ((share * logits).sum(dim=1) - own + alpha * hinge).mean()


def lse_hkr_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    *,
    margin: float,
    alpha: float,
    temperature: float,
) -> Float[Tensor, ""]:
    """HKR against the rivals' log-sum-exp s = T log Σ_j exp(z_j / T): s - z_y + α · hinge.

    The hinge is max(0, m - z_y) + max(0, m + s), and s exceeds the strongest rival by at most
    T log(K - 1).  torchlip sets T = `penalty` · m / log(K - 1), and its `temperature` τ multiplies
    the logits: its loss at (τ, `min_margin`) is τ times that at (1, `min_margin` / τ).

    Args:
        logits: each 1-Lipschitz by itself.
        labels: true classes, from 0.
        margin: m, in logit units.
        alpha: α, weight of the hinge, 0 or more.
        temperature: T, in logit units.

    Returns:
        Mean loss over the batch, in logit units.

    Source: deel-torchlip, `LseHKRMulticlassLoss`; the hinge-regularised loss is Serrurier et al.'s,
    arXiv:2006.06520.
    """
    itself, own = _own(logits, labels)
    rivals = (logits / temperature).masked_fill(itself, -torch.inf)
    strongest = temperature * rivals.logsumexp(dim=1)
    hinge = (margin - own).relu() + (margin + strongest).relu()
    return (strongest - own + alpha * hinge).mean()


def _own(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
) -> tuple[Tensor, Float[Tensor, " batch"]]:
    """Where the true class is, and its logit."""
    itself = functional.one_hot(labels, logits.shape[1]).bool()
    return itself, logits[itself]
