"""Where f is the signed distance to its boundary, |f| is the largest certificate that can be had.

The slope of a signed distance is 1, so the step x - f ∇f ends on the boundary, and an attack needs
no more than |f|.  One exact signed distance is that to the boundary of a 1-nearest-neighbour rule;
a trained network is near one where its layers keep the length of gradients.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import Voronoi, cKDTree

from models.attacks.minimum_norm import smallest_changes
from models.errors import DataError
from models.model_spec import MlpSpec
from models.networks.losses.hinges import binary_hkr_loss
from models.networks.onnx_export import export_onnx
from models.networks.training import finished_network, start_training, train_epoch
from models.proof.bounds import Bounds, prove
from models.proof.certificate import certify_examples, distance_bound
from models.proof.program import Program
from models.proof.reading.reader import read_program
from models.splits import Dataset
from models.studies.clouds import moons
from models.studies.finding import Expectation, Finding, Panel, at_least, at_most, series
from models.studies.koch import Places, nearest_on_segments
from models.studies.points import fit, proved, signed_network
from models.studies.registry import Outcome, Setting
from models.train_spec import TrainSpec

EXAMPLES = 400  # of the nearest-neighbour rule
TINY = 1e-6  # half the step of a difference quotient
FACTORS = np.concatenate((np.linspace(0.1, 0.999, 50), 1 + np.geomspace(1e-6, 2, 100)))
"""Multiples of a radius at which an attack along the slope looks."""
LARGEST = 1.05
MEDIAN = {"moons": 1.2, "digits": 1.25}
"""Most that the median of distance / radius may be for a trained network."""
READING = (
    "For the nearest-neighbour rule f is computed from the edges between cells of different "
    "classes, ∇f by difference quotients of f, and the attack goes along ∇f and asks the rule "
    "itself, by looking for the nearest example, when its answer changes. Nothing there knows "
    "that f is a distance.",
    "For the networks the radius is the certificate of the file that would ship, and the distance "
    "is that of the smallest change which the project’s attacks found in the unit cube. The "
    "ratio can’t be below 1: that would refute the proof. How far it is above 1 is what proof and "
    "attack leave between them; 1 means that neither can be bettered.",
)
CAPTION = (
    "Share of the examples whose attack distance is at most so many times the certified radius: "
    "a step at 1 for the exact signed distance, a steep rise for the networks."
)


def runs(*, quick: bool) -> list[Setting]:
    """The exact signed distance, a network on two moons, one on digits."""
    few = {"points": 40, "steps": 400} if quick else {"points": 300, "steps": 3000}
    return [
        {"kind": "neighbour", "points": 500 if quick else 5000},
        {"kind": "moons", **few},
        {"kind": "digits", "points": few["points"], "epochs": 3 if quick else 12},
    ]


def run(setting: Setting, *, seed: int, data: Dataset | None) -> Outcome:
    """Attack distances over certified radii, of one of the three."""
    if setting["kind"] == "neighbour":
        return setting | neighbour_ratios(setting["points"], seed=seed)
    if setting["kind"] == "moons":
        program, bounds, inputs = _moons(setting, seed=seed)
    elif data is None:
        raise DataError("tightness is run without images; accepted are those of its registry")
    else:
        program, bounds, inputs = _images(setting, data, seed=seed)
    return setting | {"ratios": program_ratios(program, bounds, inputs, seed=seed).tolist()}


def conclude(outcomes: Sequence[Outcome], *, quick: bool) -> Finding:  # noqa: ARG001
    """Hold each distribution against 1."""
    exact, *networks = outcomes
    expectations: list[Expectation] = [
        at_most("nearest neighbour: largest |f| / diameter after the step", exact["left"], 1e-3),
        at_least("nearest neighbour: least distance / radius", min(exact["ratios"]), 1 - 1e-6),
        at_most("nearest neighbour: largest distance / radius", max(exact["ratios"]), LARGEST),
    ]
    numbers: dict[str, float | int | str] = {}
    for each in networks:
        kind, ratios = each["kind"], np.array(each["ratios"])
        expectations += [
            at_least(f"network on {kind}: least distance / radius", float(ratios.min()), 1),
            at_most(
                f"network on {kind}: median distance / radius",
                float(np.median(ratios)),
                MEDIAN[kind],
            ),
        ]
        numbers |= {
            f"network on {kind}: examples with a change that was found": len(ratios),
            f"network on {kind}: distance / radius at 90 %": float(np.quantile(ratios, 0.9)),
            f"network on {kind}: share at most {LARGEST}": float((ratios <= LARGEST).mean()),
        }
    drawn = [
        series(
            name,
            np.sort(each["ratios"]),
            np.arange(1, len(each["ratios"]) + 1) / len(each["ratios"]),
            tone=tone,
        )
        for tone, (name, each) in enumerate(
            zip(
                ("nearest neighbour, exact", "network on moons", "network on digits"),
                outcomes,
                strict=True,
            )
        )
    ]
    return Finding(
        tuple(expectations),
        numbers,
        (Panel("share of the examples", "attack distance / certified radius", tuple(drawn)),),
        CAPTION,
    )


def neighbour_ratios(count: int, *, seed: int, factor: float = 1.0) -> Outcome:
    """Step and attack the nearest-neighbour rule of two moons at random places.

    Args:
        count: of the places.
        seed: of the places.
        factor: what the signed distance is multiplied by; 1 leaves it right.
    """
    zero, one = moons(EXAMPLES)
    examples, labels = np.concatenate((zero, one)), np.repeat((-1, 1), (len(zero), len(one)))
    starts, ends = class_edges(examples, labels)
    tree = cKDTree(examples)
    low, high = examples.min(axis=0), examples.max(axis=0)

    def f(points: Places) -> Float[np.ndarray, " points"]:
        distance, _ = nearest_on_segments(points, starts, ends, looked_at=len(starts))
        signed: np.ndarray = factor * labels[tree.query(points)[1]] * distance
        return signed

    points = low + (high - low) * np.random.default_rng(seed).random((count, 2))
    value = f(points)
    slope = np.stack(
        [(f(points + each) - f(points - each)) / (2 * TINY) for each in TINY * np.eye(2)], axis=1
    )
    left = np.abs(f(points - value[:, None] * slope)) / np.linalg.norm(high - low)
    way = -np.sign(value)[:, None] * slope / np.linalg.norm(slope, axis=1, keepdims=True)
    own, ratios = labels[tree.query(points)[1]], np.full(count, float(FACTORS[-1]))
    for multiple in FACTORS[::-1]:
        there = points + (multiple * np.abs(value))[:, None] * way
        ratios[labels[tree.query(there)[1]] != own] = multiple
    return {"left": float(left.max()), "ratios": ratios.tolist()}


def class_edges(examples: Places, labels: Int[np.ndarray, " points"]) -> tuple[Places, Places]:
    """Ends of the edges between cells of different classes: the boundary of the rule."""
    centre = examples.mean(axis=0)
    turns = np.arange(8) * np.pi / 4
    around = centre + 100 * np.stack((np.cos(turns), np.sin(turns)), axis=1)  # closes every cell
    cells = Voronoi(np.concatenate((examples, around)))
    kinds = np.concatenate((labels, np.zeros(8, dtype=labels.dtype)))
    edges = [
        edge
        for (one, other), edge in zip(cells.ridge_points, cells.ridge_vertices, strict=True)
        if kinds[one] * kinds[other] == -1
    ]
    corners = cells.vertices[np.array(edges)]
    return corners[:, 0], corners[:, 1]


def program_ratios(
    program: Program, bounds: Bounds, inputs: np.ndarray, *, seed: int
) -> Float[np.ndarray, " found"]:
    """Distance of the smallest change that was found / certified radius, where there are both."""
    certified = certify_examples(program, bounds, inputs)
    found = smallest_changes(program, inputs, certified.predictions, seed=seed)
    distances = np.array([distance_bound(*pair) for pair in zip(inputs, found.images, strict=True)])
    both = (distances > 0) & (certified.radii > 0)
    ratios: np.ndarray = distances[both] / certified.radii[both]
    return ratios


def _moons(setting: Setting, *, seed: int) -> tuple[Program, Bounds, np.ndarray]:
    """A network that is trained for HKR on two moons in the middle of the unit square."""
    zero, one = moons(1000)
    scaled = (np.concatenate((zero, one)) + 1.5) / 4.5
    points = torch.tensor(scaled, dtype=torch.float32)
    labels = torch.tensor(np.repeat((0, 1), (len(zero), len(one))))
    network = signed_network(points, widths=(64, 64, 64), seed=seed)

    def loss(_: int) -> torch.Tensor:
        return binary_hkr_loss(network(points), labels, margin=0.05, alpha=20.0)

    fit(network, loss, steps=setting["steps"], rate=1e-2)
    chosen = np.random.default_rng(seed).permutation(len(points))[: setting["points"]]
    found = proved(network)
    return found.program, found.bounds, points.numpy()[chosen].reshape(-1, 1, 1, 2)


def _images(setting: Setting, data: Dataset, *, seed: int) -> tuple[Program, Bounds, np.ndarray]:
    """The project’s own dense classifier on images."""
    model, train = MlpSpec(widths=(64, 64)), TrainSpec(epochs=setting["epochs"], batch_size=128)
    classes = len(data.classes)
    state = start_training(model, train, data.train, classes=classes, seed=seed)
    for epoch in range(train.epochs):
        state, _ = train_epoch(
            state, model, train, data.train, classes=classes, seed=seed, epoch=epoch, device="cpu"
        )
    network = finished_network(state, model, input_shape=data.input_shape, classes=classes)
    program = read_program(export_onnx(network, data.input_shape))
    return program, prove(program), data.test.inputs()[: setting["points"]]
