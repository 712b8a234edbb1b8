"""Classes that do not touch can be told apart without an error; a small temperature trades it away.

The least distance of the classes is above 0, so some 1-Lipschitz function has the right sign on
every example.  Which one is best depends on τ: a small one asks for the mean margin, which is at
most half of W₁, and pays with errors.
"""

from collections.abc import Sequence

import numpy as np
import torch

from models.networks.losses.cross_entropies import binary_cross_entropy_loss
from models.splits import Dataset
from models.studies.clouds import MOONS, moons, paired_distance
from models.studies.finding import (
    Expectation,
    Finding,
    Panel,
    at_least,
    at_most,
    between,
    levels,
    near,
    series,
)
from models.studies.points import fit, proved, signed_network
from models.studies.registry import Outcome, Setting

TAUS = (0.5, 2.0, 10.0)
MORE_TAUS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
WIDTHS = (64, 64, 64)
LEAST = {True: 0.83, False: 0.82}
"""Accuracy at τ = 0.5, at least, in the quick form and in the long one, whose networks converge."""
SIDES = (-1.5, 2.5, -1.0, 1.5)  # of the picture
READING = (
    "Each network is trained on two moons by the cross-entropy at its own τ, from the same start. "
    "The certified margin of an example is y f over the proven bound: the radius where it is right "
    "and minus the distance to the boundary, at least, where it is wrong. Its mean can be no more "
    "than half of W₁, whatever the network.",
    "At τ = 10 the boundary runs between the moons. At τ = 0.5 it is nearly a straight line: more "
    "margin on average, and one example in six on the wrong side. Both are the best 1-Lipschitz "
    "classifiers there are, each for its own loss; whoever misses clean accuracy raises τ first.",
)
CAPTION = (
    "Left the boundary of the largest τ among level sets, in the middle that of the least; right "
    "accuracy and mean certified margin over τ, the margin as a share of its bound W₁/2."
)


def runs(*, quick: bool) -> list[Setting]:
    """The distance of the moons, and a network to each τ."""
    size = {
        "examples": 1000 if quick else 5000,
        "steps": 500 if quick else 4000,
        "rate": 1e-2 if quick else 3e-3,
    }
    taus = TAUS if quick else MORE_TAUS
    return [{"tau": None, **size}, *({"tau": tau, **size} for tau in taus)]


def run(setting: Setting, *, seed: int, data: Dataset | None) -> Outcome:  # noqa: ARG001
    """W₁ of the moons, or accuracy and certified margin of a network that is trained at a τ."""
    zero, one = moons(setting["examples"])
    if setting["tau"] is None:
        return setting | {"distance": paired_distance(zero, one)}
    points = torch.tensor(np.concatenate((zero, one)), dtype=torch.float32)
    labels = torch.tensor(np.repeat((0, 1), (len(zero), len(one))))
    network = signed_network(points, widths=WIDTHS, seed=seed)
    rng = torch.Generator().manual_seed(seed)

    def loss(_: int) -> torch.Tensor:
        batch = torch.randint(len(points), (min(1000, len(points)),), generator=rng)
        f = network(points[batch])
        return binary_cross_entropy_loss(f, labels[batch], temperature=1 / setting["tau"])

    fit(network, loss, steps=setting["steps"], rate=setting["rate"])
    found = proved(network)
    margins = (2 * labels.numpy() - 1) * found.values(points.numpy()) / found.lipschitz_bound
    x, y = np.meshgrid(np.linspace(*SIDES[:2], 81), np.linspace(*SIDES[2:], 51))
    picture = found.values(np.stack((x.ravel(), y.ravel()), axis=1)).reshape(x.shape)
    return setting | {
        "accuracy": float((margins > 0).mean()),
        "margin": float(margins.mean()),
        "bound": found.lipschitz_bound,
        "picture": picture.tolist(),
    }


def conclude(outcomes: Sequence[Outcome], *, quick: bool) -> Finding:
    """Hold accuracies and margins against what each τ must give."""
    exact, *networks = outcomes
    half = exact["distance"] / 2
    by_tau = {each["tau"]: each for each in networks}
    margins = [each["margin"] for each in networks]
    expectations: list[Expectation] = [
        near("W₁ of the two moons", exact["distance"], MOONS[exact["examples"]], within=5e-4),
        at_least("τ = 10: accuracy", by_tau[10.0]["accuracy"], 0.995),
        between("τ = 0.5: accuracy", by_tau[0.5]["accuracy"], LEAST[quick], 0.86),
        at_least(
            "least gain of mean certified margin as τ falls", -float(np.diff(margins).max()), 0
        ),
        at_most("largest mean certified margin / (W₁/2)", max(margins) / half, 1),
        at_most("largest proven bound", max(each["bound"] for each in networks), 1 + 1e-5),
    ]
    numbers: dict[str, float | int | str] = {"examples": exact["examples"], "W₁/2": half}
    for each in networks:
        numbers[f"τ = {each['tau']:g}: accuracy"] = each["accuracy"]
        numbers[f"τ = {each['tau']:g}: mean certified margin"] = each["margin"]
    return Finding(
        tuple(expectations), numbers, _panels(networks, half, exact["examples"]), CAPTION
    )


def _panels(networks: Sequence[Outcome], half: float, examples: int) -> tuple[Panel, ...]:
    clouds = [cloud[:: max(1, examples // 400)] for cloud in moons(examples)]
    drawn = tuple(
        series(f"class {label}", cloud[:, 0], cloud[:, 1], kind="dots", tone=tone)
        for label, (cloud, tone) in enumerate(zip(clouds, (1, 0), strict=True))
    )
    panels = []
    for each in (networks[-1], networks[0]):
        sets = levels(np.array(each["picture"]), sides=SIDES, at=np.arange(-1.5, 1.6, 0.25))
        panels.append(Panel(f"level sets of f at τ = {each['tau']:g}", "x", drawn, levels=sets))
    taus = [each["tau"] for each in networks]
    lines = (
        series("accuracy", taus, [each["accuracy"] for each in networks], tone=2),
        series(
            "mean certified margin / (W₁/2)", taus, [each["margin"] / half for each in networks]
        ),
    )
    return (*panels, Panel("share", "τ", lines, log_x=True))
