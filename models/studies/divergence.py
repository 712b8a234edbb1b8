"""Without a bound on the weights the log-loss has no minimum: it falls for ever, and they grow.

Scaling a classifier that separates its examples always lowers their cross-entropy, so gradient
descent grows the weights, as the logarithm of the steps.  Under the constraint the functions are
as good as compact: the minimum is reached, and it is above 0.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.errors import DataError
from models.loss_spec import CrossEntropyLossSpec
from models.model_spec import CnnSpec
from models.networks.classifier import Classifier, folded, initial_classifier
from models.networks.holding import held_weights, pull_back
from models.networks.losses.choice import loss_of
from models.networks.losses.cross_entropies import binary_cross_entropy_loss, cross_entropy_loss
from models.networks.muon import BETAS
from models.splits import Dataset, Split
from models.studies.finding import Finding, Panel, at_least, at_most, near, series
from models.studies.registry import Outcome, Setting

STEPS = 10_000  # of gradient descent
MARKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
PLATEAU = math.log1p(math.exp(-1))  # the least loss at |W| ≤ 1, of W = 1 and b = 0
MODEL = CnnSpec(architecture="cnn", patch=2, channels=16, convolutions=2, widths=(64,))
LOSS = CrossEntropyLossSpec(name="cross-entropy", temperature=1.0)
BATCH, RATE = 256, 3e-3
READING = (
    "The affine classifier has two examples, x = -1 and x = 1, and begins on the wrong side. It is "
    "trained by plain gradient descent with rate 1 on the whole cross-entropy. The norm is that of "
    "(W, b). After the turn it grows as the logarithm of the steps: ten times as many steps add "
    "log 10 to it. With |W| ≤ 1, held by clipping, the same descent stops.",
    "The network is a small CNN on scikit-learn’s digits, trained by Adam with a constant rate, "
    "once freely and once with its body held near the orthogonal maps. The norm that is drawn is "
    "the largest spectral norm of a layer of the body: of a matrix, or of a convolution on a torus "
    "on which no window wraps. The free one’s grows long after the test accuracy has settled: "
    "what is learned in that time is confidence, and no certificate survives it. The loss of the "
    "1-Lipschitz twin is of logits that are 1-Lipschitz together.",
)
CAPTION = (
    "Left the norm of the affine classifier over the steps, in the middle the largest norm of a "
    "layer of the CNN over the epochs, right the loss on the training images. Free ones grow and "
    "fall for ever, 1-Lipschitz ones settle."
)


def runs(*, quick: bool) -> list[Setting]:
    """The affine classifier, and the CNN without and with the constraint."""
    epochs = 40 if quick else 400
    return [
        {"kind": "affine"},
        {"kind": "cnn", "held": False, "epochs": epochs},
        {"kind": "cnn", "held": True, "epochs": epochs},
    ]


def run(setting: Setting, *, seed: int, data: Dataset | None) -> Outcome:
    """Train one of them, and note its norm and its loss on the way."""
    if setting["kind"] == "affine":
        return affine()
    if data is None:
        raise DataError("divergence is run without images; accepted are those of its registry")
    return network(data, held=setting["held"], epochs=setting["epochs"], seed=seed)


def conclude(outcomes: Sequence[Outcome], *, quick: bool) -> Finding:
    """Hold the free ones' growth against the constrained ones' rest."""
    line, free, held = outcomes
    norm = dict(zip(MARKS, line["free_norms"], strict=True))
    half, quarter = len(free["norms"]) // 2, len(free["norms"]) // 4
    settled = free["accuracies"][half:]
    ages = "quarter, half and all of the epochs"
    expectations = (
        near("affine, free: norm after 50 steps", norm[50], 3.81, within=0.005),
        near("affine, free: norm after 10,000 steps", norm[10_000], 9.21, within=0.005),
        near(
            "affine, free: growth from 1,000 to 10,000 steps / log 10",
            (norm[10_000] - norm[1000]) / math.log(10),
            1,
            within=0.01,
        ),
        near("affine, |W| ≤ 1: |W| at the end", abs(line["held_weights"][-1]), 1, within=1e-9),
        near("affine, |W| ≤ 1: loss at the end", line["held_losses"][-1], PLATEAU, within=1e-6),
        at_least(
            "CNN, free: growth of the largest norm from a quarter to half of the epochs",
            free["norms"][half] - free["norms"][quarter],
            0.01,
        ),
        at_least(
            "CNN, free: growth from half to all of the epochs",
            free["norms"][-1] - free["norms"][half],
            0.01,
        ),
        at_most(
            "CNN, free: test accuracy gained in the second half", settled[-1] - settled[0], 0.02
        ),
        at_most(
            "CNN, free: loss at the end / loss at half",
            free["losses"][-1] / free["losses"][half],
            0.8,
        ),
        at_most(
            "CNN, 1-Lipschitz: largest norm of a layer at any epoch", max(held["norms"]), 1 + 1e-5
        ),
        at_least("CNN, 1-Lipschitz: loss at the end", held["losses"][-1], 0.1),
        at_least(
            "CNN, 1-Lipschitz: loss at the end / loss at half",
            held["losses"][-1] / held["losses"][half],
            0.9,
        ),
    )
    numbers: dict[str, float | int | str] = {
        "affine, free: loss after 10,000 steps": line["free_losses"][-1],
        "CNN: epochs": len(free["norms"]),
    }
    for name, each in (("free", free), ("1-Lipschitz", held)):
        numbers |= {
            f"CNN, {name}: norm at {ages}": ", ".join(
                f"{each['norms'][at]:.3f}" for at in (quarter, half, -1)
            ),
            f"CNN, {name}: test accuracy at the end": each["accuracies"][-1],
            f"CNN, {name}: training loss at the end": each["losses"][-1],
        }
    shorter = ("In the quick form the CNN trains for 40 epochs only.",) if quick else ()
    return Finding(expectations, numbers, _panels(line, free, held), CAPTION, shorter)


def affine() -> Outcome:
    """Gradient descent on W x + b, freely and with |W| ≤ 1, from W = -3 and b = 2."""
    x, labels = torch.tensor([-1.0, 1.0], dtype=torch.float64), torch.tensor([0, 1])
    both = torch.tensor([[-3.0, 2.0], [-3.0, 2.0]], dtype=torch.float64, requires_grad=True)
    found: dict[str, list[float]] = {
        name: [] for name in ("free_norms", "free_losses", "held_weights", "held_losses")
    }
    for step in range(1, STEPS + 1):
        losses = _affine_losses(both, x, labels)
        (slope,) = torch.autograd.grad(losses.sum(), both)
        with torch.no_grad():
            both -= slope
            both[1, 0].clamp_(-1, 1)
        if step in MARKS:
            with torch.no_grad():
                free, held = _affine_losses(both, x, labels).tolist()
            found["free_norms"].append(float(torch.linalg.vector_norm(both[0].detach())))
            found["free_losses"].append(free)
            found["held_weights"].append(float(both[1, 0].detach()))
            found["held_losses"].append(held)
    return dict(found)


def network(data: Dataset, *, held: bool, epochs: int, seed: int) -> Outcome:
    """Train the CNN, and note after each epoch the largest norm, the loss and the accuracy.

    Args:
        data: images; the training and the test part are used.
        held: whether its body is pulled back to the orthogonal maps after every step.
        epochs: how many.
        seed: of the start and of the order of the images.
    """
    generator = torch.Generator().manual_seed(seed)
    classes = len(data.classes)
    trained = initial_classifier(MODEL, data.train, classes=classes, generator=generator)
    optimizer = torch.optim.Adam(trained.parameters(), lr=RATE, betas=BETAS, fused=True)
    order = np.random.default_rng(seed)
    train = data.train.take(slice(None))
    images, labels = torch.tensor(train.inputs()), torch.tensor(train.labels)
    found: dict[str, list[float]] = {"norms": [], "losses": [], "accuracies": []}
    for epoch in range(epochs):
        for rows in np.array_split(order.permutation(len(labels)), max(1, len(labels) // BATCH)):
            optimizer.zero_grad()
            batch = torch.tensor(rows)
            loss = _loss(trained, trained(images[batch]), labels[batch], held=held)
            torch.autograd.backward(loss)
            optimizer.step()
            if held:
                pull_back(trained, place=f"epoch {epoch}")
        norm, loss_now, accuracy = _seen(trained, train, data.test, held=held)
        found["norms"].append(norm)
        found["losses"].append(loss_now)
        found["accuracies"].append(accuracy)
    return dict(found)


def _affine_losses(both: Tensor, x: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each classifier (W, b)."""
    return torch.stack(
        [binary_cross_entropy_loss(W * x + b, labels, temperature=1.0) for W, b in both]
    )


def _loss(trained: Classifier, logits: Tensor, labels: Tensor, *, held: bool) -> Tensor:
    if held:
        return loss_of(LOSS, logits, labels, head=trained.head.weight)
    return cross_entropy_loss(logits, labels, temperature=LOSS.temperature)


@torch.inference_mode()
def _seen(
    trained: Classifier, train: Split, test: Split, *, held: bool
) -> tuple[float, float, float]:
    """Largest norm of a layer of the body, training loss, test accuracy; held ones as they ship."""
    norms = []
    for each in held_weights(trained):
        weight = each.parameter.detach().double()
        norms.append(each.manifold.norm(each.manifold.end(weight) if held else weight))
    answers = folded(trained) if held else trained
    logits = answers(torch.tensor(train.inputs()))
    loss = _loss(trained, logits, torch.tensor(train.labels), held=held)
    right = answers(torch.tensor(test.inputs())).argmax(dim=1) == torch.tensor(test.labels)
    return max(norms), float(loss), float(right.double().mean())


def _panels(line: Outcome, free: Outcome, held: Outcome) -> tuple[Panel, ...]:
    epochs = np.arange(1, len(free["norms"]) + 1)
    return (
        Panel(
            "norm of (W, b), affine",
            "step",
            (
                series("free", MARKS, line["free_norms"], tone=1),
                series("|W| ≤ 1: |W|", MARKS, np.abs(line["held_weights"]), tone=0),
            ),
            log_x=True,
        ),
        Panel(
            "largest norm of a layer, CNN",
            "epoch",
            (
                series("free", epochs, free["norms"], tone=1),
                series("1-Lipschitz", epochs, held["norms"], tone=0),
            ),
        ),
        Panel(
            "training loss, CNN",
            "epoch",
            (
                series("free", epochs, free["losses"], tone=1),
                series("1-Lipschitz", epochs, held["losses"], tone=0),
            ),
            log_y=True,
        ),
    )
