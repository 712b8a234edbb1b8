"""The gap between training and test loss closes with data for a fixed loss, sooner at a small τ.

1-Lipschitz functions of a bounded domain are few enough for the mean loss to converge for all of
them at once, and the loss moves with τ.  That says nothing against fitting: a network of any such
bound still fits random labels, with less margin.
"""

from collections.abc import Sequence

import numpy as np
import torch

from models.errors import DataError
from models.model_spec import MlpSpec
from models.networks.classifier import folded
from models.networks.onnx_export import export_onnx
from models.proof.bounds import prove
from models.proof.reading.reader import read_program
from models.splits import Dataset, Split
from models.studies.finding import Expectation, Finding, Panel, at_least, at_most, series
from models.studies.registry import Outcome, Setting
from models.studies.twins import trained_twin

FRACTIONS = {True: (0.05, 0.3, 1.0), False: (0.02, 0.05, 0.1, 0.3, 1.0)}
TAUS = {True: (1.0, 8.0, 64.0), False: (1.0, 4.0, 16.0, 64.0)}
MOST = 20_000  # training images at a fraction of 1
RANDOM = {True: 300, False: 2000}
OVERFITS = 3  # times the training loss, at least, is the free twin's test loss
READING = (
    "Each network is trained on a part of the training images for the same number of steps, at "
    "one τ. The gap is its cross-entropy on the test images less that on the images it was "
    "trained on. For a fixed τ it closes with data. A small τ moves the loss little, so its gap "
    "is small from the start, and so is what its loss says of errors.",
    "The free twin has the same layers, start and steps, and no projection. Its test loss is many "
    "times its training loss at every fraction: with confidence to be had for nothing, there is no "
    "loss below which it would rest.",
    "The last network is trained on labels that were drawn at random, at a large τ. It fits them "
    "all the same, under the same proven bound: that the class of functions is small is no "
    "statement about the training error, and a fit is no statement about the truth.",
)
CAPTION = (
    "Left the gap of test and training loss over the share of the training images, a line to each "
    "τ; right the test loss and the training loss of the unconstrained twin."
)


def runs(*, quick: bool) -> list[Setting]:
    """A network to each τ and fraction, the free twin at each fraction, and random labels."""
    size = {"width": 64 if quick else 128, "steps": 300 if quick else 1500}
    held = [
        {"kind": "held", "tau": tau, "fraction": fraction, **size}
        for tau in TAUS[quick]
        for fraction in FRACTIONS[quick]
    ]
    free = [{"kind": "free", "tau": 1.0, "fraction": each, **size} for each in FRACTIONS[quick]]
    fit = {"width": 256 if quick else 512, "steps": 500 if quick else 3000}
    return [*held, *free, {"kind": "random", "tau": 200.0, "examples": RANDOM[quick], **fit}]


def run(setting: Setting, *, seed: int, data: Dataset | None) -> Outcome:
    """One network: its losses, or how much of random labels it fits under which bound."""
    if data is None:
        raise DataError("consistency is run without images; accepted are those of its registry")
    if setting["kind"] == "random":
        return setting | fitted_noise(data, setting, seed=seed)
    order = np.random.default_rng(seed).permutation(len(data.train))[:MOST]
    part = data.train.take(order[: max(10, round(setting["fraction"] * len(order)))])
    twin = trained_twin(
        MlpSpec(widths=(setting["width"],) * 2),
        part,
        classes=len(data.classes),
        tau=setting["tau"],
        held=setting["kind"] == "held",
        steps=setting["steps"],
        rate=4e-3,
        seed=seed,
    )
    (train, _), (test, accuracy) = twin.seen(part), twin.seen(data.test)
    return setting | {"examples": len(part), "train": train, "test": test, "accuracy": accuracy}


def conclude(outcomes: Sequence[Outcome], *, quick: bool) -> Finding:
    """Hold gaps against each other, the twin against itself, and the fit against its labels."""
    *networks, noise = outcomes
    gaps = {
        (each["kind"], each["tau"], each["fraction"]): each["test"] - each["train"]
        for each in networks
    }
    taus, fractions = TAUS[quick], FRACTIONS[quick]
    expectations: list[Expectation] = []
    for tau in taus:
        few, all_of_them = (
            gaps["held", tau, fraction] for fraction in (fractions[0], fractions[-1])
        )
        name = f"τ = {tau:g}: gap with all images / with {fractions[0]:.0%} of them"
        expectations.append(at_most(name, all_of_them / few, 0.7))
    for fraction in fractions:
        rises = np.diff([gaps["held", tau, fraction] for tau in taus])
        name = f"{fraction:.0%} of the images: least rise of the gap from one τ to the next"
        expectations.append(at_least(name, float(rises.min()), 0))
    free = [each for each in networks if each["kind"] == "free"]
    worst = min(each["test"] / each["train"] for each in free)
    expectations += [
        at_least("free twin: least test loss / training loss", worst, OVERFITS),
        at_least("random labels: training accuracy", noise["accuracy"], 0.99),
        at_most("random labels: proven bound of the body", noise["bound"], 1 + 1e-5),
    ]
    numbers: dict[str, float | int | str] = {"random labels": noise["examples"]}
    for each in networks:
        name = f"{each['kind']}, τ = {each['tau']:g}, {each['examples']} images"
        numbers[f"{name}: training loss, test loss, test accuracy"] = (
            f"{each['train']:.4g}, {each['test']:.4g}, {each['accuracy']:.1%}"
        )
    return Finding(tuple(expectations), numbers, _panels(networks, gaps, quick=quick), CAPTION)


def fitted_noise(data: Dataset, setting: Setting, *, seed: int) -> Outcome:
    """Fit random labels of some images; the training accuracy, and the proven bound of the body."""
    rng = np.random.default_rng(seed)
    part = data.train.take(rng.permutation(len(data.train))[: setting["examples"]])
    classes = len(data.classes)
    labels = rng.integers(classes, size=len(part))
    split = Split(part.images, labels, part.indices)
    twin = trained_twin(
        MlpSpec(widths=(setting["width"],) * 2),
        split,
        classes=classes,
        tau=setting["tau"],
        held=True,
        steps=setting["steps"],
        rate=4e-3,
        seed=seed,
    )
    network = folded(twin.network)
    program = read_program(export_onnx(network, data.input_shape))
    with torch.inference_mode():
        answers = program(torch.tensor(split.inputs(), dtype=torch.float64)).argmax(dim=1)
    return {
        "accuracy": float((answers.numpy() == labels).mean()),
        "bound": prove(program).feature_bound,
    }


def _panels(
    networks: Sequence[Outcome], gaps: dict[tuple[str, float, float], float], *, quick: bool
) -> tuple[Panel, ...]:
    fractions = FRACTIONS[quick]
    gap_lines = tuple(
        series(
            f"τ = {tau:g}", fractions, [gaps["held", tau, each] for each in fractions], tone=tone
        )
        for tone, tau in enumerate(TAUS[quick])
    )
    free = [each for each in networks if each["kind"] == "free"]
    twin = tuple(
        series(f"free twin, {name} loss", fractions, [each[name] for each in free], tone=tone)
        for tone, name in ((1, "test"), (2, "train"))
    )
    label = "share of the training images"
    return (
        Panel("gap of test and training loss", label, gap_lines, log_x=True, log_y=True),
        Panel("cross-entropy", label, twin, log_x=True, log_y=True),
    )
