"""Classification by 1-Lipschitz functions is an optimal transport between the classes.

The largest mean margin E₁f - E₀f is their Wasserstein-1 distance, by Kantorovich and Rubinstein.
Every loss of the family is a compromise with it: the cross-entropy at a small τ, and HKR at a small
α, are its multiples; HKR at a large α is the hinge.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from models.networks.losses.cross_entropies import binary_cross_entropy_loss
from models.networks.losses.hinges import binary_kr_loss
from models.splits import Dataset
from models.studies import line
from models.studies.clouds import MOONS, SQUARE, Cloud, moons, paired_distance, squares
from models.studies.finding import Expectation, Finding, Panel, at_least, at_most, near, series
from models.studies.points import fit, proved, signed_network
from models.studies.registry import Outcome, Setting

TAUS = ((0.1, 3.211), (0.01, 3.381))
MARGIN = 0.3  # of the hinge
LEAST_SHARE = {"squares": 34.9 / 35, "line": 0.985, "moons": 0.96}
"""Share of W₁ that a trained network must reach."""
LARGE = 1e5  # weight beside which the other term is nothing
READING = (
    "W₁ is computed exactly: for two images it is their distance; on the line it is the area "
    "between the two distribution functions; for the moons it is the cost of the best pairing of "
    "their points. Networks are trained for the Kantorovich-Rubinstein term alone. Their mean "
    "margin may come near W₁ and can never pass it, at any step: the bound is 1.",
    "With a loss that is divided as in the papers, 4 (log 2 - least loss)/τ goes to W₁ as τ → 0: "
    "what such a classifier minimises is transport and not error. At α = 0 HKR is W₁; at a large "
    "α what is left of it, divided by α, is the hinge. All of it scales with the bound on slopes.",
    "The gradient of the cross-entropy is that of the Kantorovich-Rubinstein term with each "
    "example weighted by what it lacks, σ(-τ y f): the temperature only says how soon a distant "
    "example is let go.",
)
CAPTION = (
    "The mean margin of three networks while they are trained, as a share of W₁, which none "
    "exceeds; and what the least cross-entropy on the line gives for it as τ falls."
)


def runs(*, quick: bool) -> list[Setting]:
    """The exact values on the line, and a network to each pair of classes."""
    steps = 300 if quick else 2000
    return [
        {"kind": "exact"},
        {"kind": "squares", "steps": 400, "rate": 5e-2, "widths": (4,)},
        {"kind": "line", "steps": steps, "rate": 2e-2, "widths": (64, 64)},
        {
            "kind": "moons",
            "steps": steps,
            "rate": 2e-2,
            "widths": (64, 64),
            "examples": 1000 if quick else 5000,
        },
    ]


def run(setting: Setting, *, seed: int, data: Dataset | None) -> Outcome:  # noqa: ARG001
    """What can be had exactly, or one network's mean margin beside W₁."""
    if setting["kind"] == "exact":
        return exact_values(seed)
    zero, one, distance = classes_of(setting)
    found = kr_margins(zero, one, unit=distance, setting=setting, seed=seed)
    return setting | {"distance": distance} | found


def conclude(outcomes: Sequence[Outcome], *, quick: bool) -> Finding:  # noqa: ARG001
    """Hold the networks against W₁, and the losses against their limits."""
    exact, *networks = outcomes
    known = {"squares": SQUARE, "line": 3.4, "moons": MOONS[networks[2]["examples"]]}
    expectations: list[Expectation] = []
    for each in networks:
        kind, margins = each["kind"], np.array(each["margins"])
        reached = margins[-1] / each["distance"]
        expectations += [
            near(f"{kind}: W₁", each["distance"], known[kind], within=5e-4),
            at_least(f"{kind}: mean margin of the network / W₁", reached, LEAST_SHARE[kind]),
            at_most(
                f"{kind}: largest mean margin at any step / W₁",
                margins.max() / each["distance"],
                1 + 1e-5,
            ),
            at_most(f"{kind}: proven bound of the network", each["bound"], 1 + 1e-5),
        ]
    expectations += [
        near(f"4 (log 2 - least loss)/τ at τ = {tau:g}", found, value, within=1e-3)
        for (tau, value), found in zip(TAUS, exact["from_loss"], strict=True)
    ]
    expectations += [
        near("-HKR at α = 0, less W₁", exact["hkr_at_0"] - exact["distance"], 0, within=1e-6),
        near(
            "HKR / α at a large α, less the hinge",
            exact["hkr_at_large"] - exact["hinge"],
            0,
            within=1e-3,
        ),
        near(
            "largest mean margin with slopes up to 3 / 3 W₁",
            exact["steep"] / exact["distance"] / 3,
            1,
            within=1e-6,
        ),
        at_most(
            "cross-entropy’s gradient, relative difference to the reweighted KR’s",
            exact["gradient"],
            1e-6,
        ),
    ]
    numbers: dict[str, float | int | str] = {"line, hinge alone: least": exact["hinge"]}
    numbers |= {f"{each['kind']}: mean margin": each["margins"][-1] for each in networks}
    return Finding(tuple(expectations), numbers, _panels(exact, networks), CAPTION)


def exact_values(seed: int) -> Outcome:
    """The limits of the losses on the line, by convex optimisation, and the two gradients."""
    least = [line.least_cross_entropy(tau).value for tau, _ in TAUS]
    taus = np.geomspace(0.01, 2, 12)
    path = [4 * (math.log(2) - line.least_cross_entropy(float(tau)).value) / tau for tau in taus]
    coarse = {"margin": MARGIN}
    return {
        "distance": -line.least_hkr(kr=1.0, hinge=0.0, **coarse).value,
        "hkr_at_0": -line.least_hkr(kr=1.0, hinge=1e-9, **coarse).value,
        "hkr_at_large": line.least_hkr(kr=1.0, hinge=LARGE, **coarse).value / LARGE,
        "hinge": line.least_hkr(kr=0.0, hinge=1.0, **coarse).value,
        "steep": -line.least_hkr(kr=1.0, hinge=0.0, lipschitz=3.0, **coarse).value,
        "from_loss": [
            4 * (math.log(2) - value) / tau for (tau, _), value in zip(TAUS, least, strict=True)
        ],
        "gradient": gradient_difference(tau=2.0, seed=seed),
        "taus": taus.tolist(),
        "path": path,
    }


def gradient_difference(
    *, tau: float, seed: int, weights: Callable[[Tensor], Tensor] = torch.sigmoid
) -> float:
    """How far the cross-entropy's gradient is from that of a reweighted KR, relative to its norm.

    Args:
        tau: τ of the cross-entropy.
        seed: of the network.
        weights: of each example, from -τ y f.
    """
    x, labels = line.sample(200)
    points, sides = torch.tensor(x[:, None]), torch.tensor(labels)
    network = signed_network(points.float(), widths=(16, 16), seed=seed).double()
    f, y = network(points), 2 * sides - 1
    pulls = weights(-tau * y * f).detach()
    losses = (
        binary_cross_entropy_loss(f, sides, temperature=1 / tau),
        -(pulls * y * f).mean(),
    )
    slopes = [
        torch.cat(
            [
                part.flatten()
                for part in torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
            ]
        )
        for loss in losses
    ]
    return float((slopes[0] - slopes[1]).norm() / slopes[0].norm())


def kr_margins(
    zero: Cloud,
    one: Cloud,
    *,
    unit: float,
    setting: Setting,
    seed: int,
) -> Outcome:
    """Train a network for the Kantorovich-Rubinstein term; its mean margin on the way.

    Args:
        zero: examples of class 0.
        one: examples of class 1.
        unit: length that is 1 to the network.
        setting: widths, steps and rate.
        seed: of the network.

    Returns:
        The mean margin of the network as it would ship, in the units of the examples, every so
        many steps; and the proven bound at the end.
    """
    points = torch.tensor(np.concatenate((zero, one)) / unit, dtype=torch.float32)
    labels = torch.tensor(np.repeat((0, 1), (len(zero), len(one))))
    network = signed_network(points, widths=tuple(setting["widths"]), seed=seed)
    every, margins = max(1, setting["steps"] // 20), []

    def watch(step: int) -> None:
        if step % every == every - 1:
            with torch.inference_mode():
                logits = network.shipped().double()(points.double())
            margins.append(-unit * float(binary_kr_loss(logits[:, 1] - logits[:, 0], labels)))

    fit(
        network,
        lambda _: binary_kr_loss(network(points), labels),
        steps=setting["steps"],
        rate=setting["rate"],
        watch=watch,
    )
    return {"margins": margins, "bound": proved(network).lipschitz_bound, "every": every}


def classes_of(setting: Setting) -> tuple[Cloud, Cloud, float]:
    """Examples of class 0 and of class 1 of a run, and their exact W₁."""
    if setting["kind"] == "squares":
        zero, one = squares()
        return zero, one, float(np.linalg.norm(one - zero))
    if setting["kind"] == "line":
        x, labels = line.sample(1000)
        zero, one = x[labels == 0, None], x[labels == 1, None]
        return zero, one, float(np.abs(np.sort(one[:, 0]) - np.sort(zero[:, 0])).mean())
    zero, one = moons(setting["examples"])
    return zero, one, paired_distance(zero, one)


def _panels(exact: Outcome, networks: Sequence[Outcome]) -> tuple[Panel, ...]:
    drawn = []
    for tone, each in enumerate(networks):
        shares = np.array(each["margins"]) / each["distance"]
        done = np.arange(1, len(shares) + 1) / len(shares)
        drawn.append(series(each["kind"], done, shares, tone=tone))
    limit = series("W₁", exact["taus"], [3.4] * len(exact["taus"]), tone=3, kind="dashed")
    path = series("4 (log 2 - least loss) / τ", exact["taus"], exact["path"], tone=0)
    return (
        Panel("mean margin / W₁", "share of the training", tuple(drawn)),
        Panel("W₁ from the least loss", "τ", (path, limit), log_x=True),
    )
