"""The loss of a batch as a job asks for it: which logits each loss is given.

The head is a plain linear layer of any norm, on a body of norm 1.  The losses of `radii` divide by
its rows' distances themselves.  The others want 1-Lipschitz logits, so they are divided by

- the head's spectral norm, where a loss looks at gaps: the logits are 1-Lipschitz together;
- each its own row's norm, where a loss takes each logit by itself: KR and HKR;
- ‖w_1 - w_0‖, the gap of two classes, in KR and HKR: the signed distance to the boundary.

Scaling the head, and its bias with it, changes none of these but `emma`, whose temperature the
head's scale is.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.loss_spec import LossSpec
from models.networks.losses.cross_entropies import (
    cross_entropy_loss,
    logit_annealing_loss,
    offset_cross_entropy_loss,
)
from models.networks.losses.hinges import (
    binary_hkr_loss,
    binary_kr_loss,
    hinge_loss,
    hkr_loss,
    kr_loss,
)
from models.networks.losses.radii import TINY, certified_radius_loss, emma_loss
from models.networks.losses.soft_hkr import lse_hkr_loss, soft_hkr_loss

Loss = Callable[..., Tensor]
OF_RADII: dict[str, Loss] = {"certified-radius": certified_radius_loss, "emma": emma_loss}
OF_GAPS: dict[str, Loss] = {
    "cross-entropy": cross_entropy_loss,
    "offset-cross-entropy": offset_cross_entropy_loss,
    "logit-annealing": logit_annealing_loss,
    "hinge": hinge_loss,
}
OF_EACH: dict[str, Loss] = {
    "kr": kr_loss,
    "hkr": hkr_loss,
    "soft-hkr": soft_hkr_loss,
    "lse-hkr": lse_hkr_loss,
}
OF_TWO: dict[str, Loss] = {"kr": binary_kr_loss, "hkr": binary_hkr_loss}


def loss_of(
    spec: LossSpec,
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    *,
    head: Float[Tensor, "classes width"],
) -> Float[Tensor, ""]:
    """Mean loss of a batch.

    Args:
        spec: which loss, and its dials, named as the loss's own arguments; as `at_share` gives it.
        logits: network outputs.
        labels: true classes, from 0.
        head: weight of the last layer, on a body of norm 1.
    """
    dials = spec.model_dump(exclude={"name", "start"})
    if spec.name in OF_RADII:
        return OF_RADII[spec.name](logits, labels, head=head, **dials)
    if spec.name in OF_GAPS:
        together = logits / torch.linalg.matrix_norm(head, ord=2)
        return OF_GAPS[spec.name](together, labels, **dials)
    if len(head) == 2 and spec.name in OF_TWO:
        distance = torch.linalg.vector_norm(head[1] - head[0]).clamp_min(TINY)
        signed = (logits[:, 1] - logits[:, 0]) / distance
        return OF_TWO[spec.name](signed, labels, **dials)
    alone = logits / torch.linalg.vector_norm(head, dim=1).clamp_min(TINY)
    return OF_EACH[spec.name](alone, labels, **dials)
