"""How good a network seems on examples that it was not trained on: a look, not a certificate."""

import copy
import math

import torch
from torch import nn

from models.errors import CertifyError
from models.networks.losses.radii import pair_radii
from models.splits import Examples, Split


@torch.inference_mode()
def validate(
    network: nn.Sequential,
    split: Split,
    *,
    eps: tuple[float, ...],
    device: str = "cpu",
    batch_size: int = 1000,
) -> dict[str, float | list[float]]:
    """Clean accuracy, and an *estimate* of the certified ones, to watch training by.

    Not a certificate: the radius is float32 arithmetic under a body taken to have norm 1.

    Args:
        network: what `finished_network` gave.
        split: examples that were not trained on.
        eps: perturbation budgets, in input units.
        device: where to compute.
        batch_size: examples at a time.

    Returns:
        `clean_accuracy`, and `estimated_certified_accuracy` in the order of `eps`; fractions.

    Raises:
        CertifyError: If the split is empty.
    """
    refuse_empty(split)
    network = copy.deepcopy(network).to(device)
    head = network[-1]
    if not isinstance(head, nn.Linear):
        raise CertifyError(f"expected a network that ends in Linear, found {type(head).__name__}")
    radii = []
    for start in range(0, len(split), batch_size):
        batch = split.take(slice(start, start + batch_size))
        labels = torch.tensor(batch.labels).to(device)
        logits = network(torch.tensor(batch.inputs()).to(device))
        by_rival = pair_radii(logits, labels, head=head.weight).scatter_(
            1, labels[:, None], math.inf
        )
        radii.append(by_rival.amin(dim=1).cpu())
    radius = torch.cat(radii)
    return {
        "clean_accuracy": float((radius > 0).double().mean()),
        "estimated_certified_accuracy": [float((radius > e).double().mean()) for e in eps],
    }


def refuse_empty(split: Examples) -> None:
    """Refuse a split without an example.

    Raises:
        CertifyError: If it has none.
    """
    if len(split) == 0:
        raise CertifyError("the split has no example; at least 1 is needed")
