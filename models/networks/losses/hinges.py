"""Hinges, the Kantorovich-Rubinstein term, and their sum: optimal transport as a classifier.

The Kantorovich-Rubinstein term is a Wasserstein-1 distance between classes when its maximum over
the 1-Lipschitz functions is reached.  It pulls without end and does not classify; the hinge does.
Each class is told from all others by its own 1-Lipschitz logit, positive for the class.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


def hinge_loss(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], *, margin: float
) -> Float[Tensor, ""]:
    """What the gap to the strongest rival lacks to the margin: max(0, m - (z_y - max_j z_j)).

    Args:
        logits: network outputs, in logit units.
        labels: true classes, from 0.
        margin: m, gap at which the pull ends, in logit units.

    Returns:
        Mean loss over the batch, in logit units.

    Source: Crammer and Singer, "On the Algorithmic Implementation of Multiclass Kernel-based
    Vector Machines", JMLR 2, 2001.
    """
    itself = functional.one_hot(labels, logits.shape[1]).bool()
    rival = logits.masked_fill(itself, -torch.inf).amax(dim=1)
    return (margin - (logits[itself] - rival)).relu().mean()


def binary_hinge_loss(
    signed: Float[Tensor, " batch"], labels: Int[Tensor, " batch"], *, margin: float
) -> Float[Tensor, ""]:
    """What a signed distance lacks to the margin: the mean of max(0, m - y f), y = ±1.

    Args:
        signed: f, positive for class 1.
        labels: 0 or 1.
        margin: m, distance at which the pull ends, in the units of f.
    """
    return (margin - (2 * labels - 1) * signed).relu().mean()


def binary_kr_loss(
    signed: Float[Tensor, " batch"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Minus the Kantorovich-Rubinstein term: mean of f over class 0 less its mean over class 1.

    The mean over a class that the batch lacks counts as 0.

    Source: Serrurier et al., "Achieving Robustness in Classification Using Optimal Transport with
    Hinge Regularization", CVPR 2021, arXiv:2006.06520.
    """
    return -_kr(signed[:, None], labels[:, None] == 1)


def binary_hkr_loss(
    signed: Float[Tensor, " batch"],
    labels: Int[Tensor, " batch"],
    *,
    margin: float,
    alpha: float,
) -> Float[Tensor, ""]:
    """Hinge-regularised Kantorovich-Rubinstein loss of two classes: -KR + α · hinge.

    Args:
        signed: a 1-Lipschitz f, positive for class 1.
        labels: 0 or 1.
        margin: of the hinge, in the units of f.
        alpha: α, weight of the hinge, 0 or more.

    Source: Serrurier et al., arXiv:2006.06520.
    """
    hinge = binary_hinge_loss(signed, labels, margin=margin)
    return binary_kr_loss(signed, labels) + alpha * hinge


def kr_loss(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Minus the mean, over the classes, of each one's Kantorovich-Rubinstein term against all.

    Source: Serrurier et al., arXiv:2006.06520, section 4.
    """
    return -_kr(logits, functional.one_hot(labels, logits.shape[1]).bool())


def weighted_hinge_loss(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], *, margin: float
) -> Float[Tensor, ""]:
    """Hinge of every logit on its side of 0, the true class's counted K - 1 times.

    Returns:
        Mean over batch and classes of (K - 1) max(0, m - z_y) and max(0, m + z_j), in logit units.
    """
    classes = logits.shape[1]
    itself = functional.one_hot(labels, classes).bool()
    lacking = (margin - torch.where(itself, logits, -logits)).relu()
    return torch.where(itself, (classes - 1) * lacking, lacking).mean()


def hkr_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    *,
    margin: float,
    alpha: float,
) -> Float[Tensor, ""]:
    """Hinge-regularised Kantorovich-Rubinstein loss, each class against all: -KR + α · hinge.

    Args:
        logits: each 1-Lipschitz by itself.
        labels: true classes, from 0.
        margin: m of `weighted_hinge_loss`, in logit units.
        alpha: α, weight of the hinge, 0 or more.

    Source: Serrurier et al., arXiv:2006.06520, section 4.
    """
    hinge = weighted_hinge_loss(logits, labels, margin=margin)
    return kr_loss(logits, labels) + alpha * hinge


def _kr(
    values: Float[Tensor, "batch functions"], inside: Bool[Tensor, "batch functions"]
) -> Float[Tensor, ""]:
    """Mean of each function over its inside less that over its outside; their mean.

    The mean over no example counts as 0: a batch may lack a class.
    """
    weights = inside.to(values.dtype)
    within = weights / weights.sum(dim=0).clamp_min(1)
    without = (1 - weights) / (1 - weights).sum(dim=0).clamp_min(1)
    return ((within - without) * values).sum(dim=0).mean()
