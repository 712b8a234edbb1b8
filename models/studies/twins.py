"""The project's image classifier and its unconstrained twin: one loop, one difference."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.loss_spec import CrossEntropyLossSpec
from models.model_spec import TrainedSpec
from models.networks.classifier import Classifier, folded, initial_classifier
from models.networks.holding import pull_back
from models.networks.losses.choice import loss_of
from models.networks.losses.cross_entropies import cross_entropy_loss
from models.networks.muon import BETAS
from models.networks.schedules import rate_factor
from models.splits import Split

BATCH = 128


@dataclass(frozen=True)
class Twin:
    """A trained classifier.

    Attributes:
        network: as training left it.
        tau: τ of its cross-entropy.
        held: whether its body is held near the orthogonal maps; if not, logits are free as well.
    """

    network: Classifier
    tau: float
    held: bool

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of τ z, in nats; z 1-Lipschitz together where the body is held."""
        if self.held:
            spec = CrossEntropyLossSpec(name="cross-entropy", temperature=1 / self.tau)
            return self.tau * loss_of(spec, logits, labels, head=self.network.head.weight)
        return cross_entropy_loss(self.tau * logits, labels, temperature=1.0)

    @torch.inference_mode()
    def seen(self, split: Split) -> tuple[float, float]:
        """Loss and accuracy on a split, of the network as it would ship."""
        answers = folded(self.network) if self.held else self.network
        logits, labels = answers(torch.tensor(split.inputs())), torch.tensor(split.labels)
        right = logits.argmax(dim=1) == labels
        return float(self.loss(logits, labels)), float(right.double().mean())


def trained_twin(
    model: TrainedSpec,
    split: Split,
    *,
    classes: int,
    tau: float,
    held: bool,
    steps: int,
    rate: float,
    seed: int,
) -> Twin:
    """Train a classifier with Adam for so many steps; a rate that falls to 0 in a line.

    Args:
        model: its architecture.
        split: what it is trained on.
        classes: how many.
        tau: τ of the cross-entropy.
        held: whether the body is pulled back to the orthogonal maps after every step.
        steps: how many.
        rate: largest step.
        seed: of the start and of the batches.
    """
    generator = torch.Generator().manual_seed(seed)
    network = initial_classifier(model, split, classes=classes, generator=generator)
    twin, rng = Twin(network, tau, held), np.random.default_rng(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=BETAS, fused=True)
    images, labels = torch.tensor(split.inputs()), torch.tensor(split.labels)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_factor(step, total=steps, warm_up=0.05, schedule="linear")
        batch = torch.tensor(rng.integers(len(split), size=min(BATCH, len(split))))
        optimizer.zero_grad()
        torch.autograd.backward(twin.loss(network(images[batch]), labels[batch]))
        optimizer.step()
        if held:
            pull_back(network, place=f"step {step}")
    return twin
