"""Any boundary can be fitted by a 1-Lipschitz network: its signed distance is 1-Lipschitz.

The constraint takes no decision boundary away, since scaling a network changes its logits and not
its signs.  Two snowflakes, as hard a boundary as any, are learned by regression on the distance.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from models.splits import Dataset
from models.studies.finding import Finding, Panel, at_least, at_most, levels, near, series
from models.studies.koch import SIDE, SIZES, koch_curve, snowflakes
from models.studies.points import fit, proved, signed_network
from models.studies.registry import Outcome, Setting

CONSTANT = 563.0
"""Least mean squared error of a constant, in the square's own units: 400 to a side."""
TIMES_BETTER = 50
RIGHT = {True: 0.90, False: 0.98}
"""Share of signs that must be right, in the quick and in the long form."""
BATCH = 512
NEAR = 1.6 / SIDE  # standard deviation of the places near a curve
WITHIN = 100 / SIDE, 3 / SIDE  # of a curve errors count fully: at the first step, at the last
PICTURE = 101  # places to a side of the picture
READING = (
    "The network has two inputs and is told signed distances at random places. Its error is "
    "compared with that of the best constant; its sign is read on a fine grid, as a classifier’s "
    "would be.",
    "The proven bound is that of the file that would ship. It is 1, so |f| is a certified radius "
    "everywhere; where f is the signed distance itself, it is the largest there is. Constraining "
    "a network is no loss of expressive power for its decisions; what it costs is found in "
    "training and in generalisation.",
)
CAPTION = (
    "Level sets of the trained network, every 20 units; the heavy line is its boundary, the "
    "filled side is positive. In the second colour the snowflakes that it was to fit."
)


def runs(*, quick: bool) -> list[Setting]:
    """One network; smaller and trained for less in the quick form."""
    if quick:
        return [
            {
                "widths": (128,) * 6,
                "rate": 2e-2,
                "steps": 1500,
                "examples": 30_000,
                "near": 0.0,
                "closer": False,
                "grid": 200,
            }
        ]
    return [
        {
            "widths": (160,) * 8,
            "rate": 1e-2,
            "steps": 9000,
            "examples": 1_000_000,
            "near": 0.65,
            "closer": True,
            "grid": 1000,
        }
    ]


def run(setting: Setting, *, seed: int, data: Dataset | None) -> Outcome:  # noqa: ARG001
    """Fit the signed distance, prove what was fitted, and read it on a grid."""
    curves, rng = snowflakes(), np.random.default_rng(seed)
    places = training_places(setting["examples"], near=setting["near"], rng=rng)
    distances = curves.signed_distance(places.astype(np.float64))
    points = torch.tensor(places)
    targets = torch.tensor(distances, dtype=torch.float32)
    network = signed_network(points, widths=tuple(setting["widths"]), seed=seed)
    draw = torch.Generator().manual_seed(seed)

    def loss(step: int) -> torch.Tensor:
        batch = torch.randint(len(points), (BATCH,), generator=draw)
        missed: torch.Tensor = (network(points[batch]) - targets[batch]).square()
        if setting["closer"]:
            missed = missed * weights(targets[batch], share=step / setting["steps"])
        return 100 * missed.mean()

    fit(network, loss, steps=setting["steps"], rate=setting["rate"])
    found = proved(network)
    side = (np.arange(setting["grid"]) + 0.5) / setting["grid"]
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype(np.float32)
    side = np.linspace(0, 1, PICTURE)
    picture = found.values(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2))
    return setting | {
        **compared(found.values(grid), curves.signed_distance(grid.astype(np.float64))),
        "bound": found.lipschitz_bound,
        "picture": (SIDE * picture).reshape(PICTURE, PICTURE).tolist(),
    }


def conclude(outcomes: Sequence[Outcome], *, quick: bool) -> Finding:
    """Hold the network's error, sign and bound against the claim."""
    (found,) = outcomes
    expectations = (
        near("mean squared error of the best constant", found["constant"], CONSTANT, within=12),
        at_least(
            "how many times smaller the network’s is",
            found["constant"] / found["error"],
            TIMES_BETTER,
        ),
        at_least("share of the grid with the right sign", found["right"], RIGHT[quick]),
        at_most("proven bound of the network", found["bound"], 1 + 1e-5),
        at_most(
            "steepest step seen on the grid / proven bound", found["steepest"] / found["bound"], 1
        ),
    )
    numbers: dict[str, float | int | str] = {
        "mean squared error of the network": found["error"],
        "places of the grid": found["grid"] ** 2,
        "steps of training": found["steps"],
    }
    notes = (
        ("The quick form trains a smaller network for seconds; it is asked for 90 % of the signs.",)
        if quick
        else ()
    )
    curves = tuple(
        series("snowflakes" if place == 0 else "", *((koch_curve(size, 4) - 0.5) * SIDE).T, tone=1)
        for place, size in enumerate(SIZES)
    )
    half = SIDE / 2
    sets = levels(
        np.array(found["picture"]), sides=(-half, half, -half, half), at=np.arange(-100, 101, 20)
    )
    panel = Panel("f, level sets", "x", curves, levels=sets)
    return Finding(expectations, numbers, (panel,), CAPTION, notes)


def training_places(
    count: int, *, near: float, rng: np.random.Generator
) -> Float[np.ndarray, "points 2"]:
    """Places in the square, float32: a share of them near a curve and the others anywhere."""
    curves, close = snowflakes(), round(near * count)
    segment, share = rng.integers(len(curves.starts), size=close), rng.random((close, 1))
    start, end = curves.starts[segment], curves.ends[segment]
    near_by = start + share * (end - start) + NEAR * rng.standard_normal((close, 2))
    anywhere = rng.random((count - close, 2))
    return np.concatenate((np.clip(near_by, 0, 1), anywhere)).astype(np.float32)


def weights(
    distances: Float[torch.Tensor, " batch"], *, share: float
) -> Float[torch.Tensor, " batch"]:
    """How much places count: those near a curve, where signs are decided, ever more.

    Args:
        distances: of the places, with a sign.
        share: of the training that is over; the last fifth goes on as it has become.
    """
    first, last = WITHIN
    within = first * (last / first) ** min(1.0, 1.25 * share)
    counted: torch.Tensor = within / (distances.abs() + within)
    return counted / counted.square().mean().sqrt()


def compared(
    found: Float[np.ndarray, " grid"], true: Float[np.ndarray, " grid"]
) -> dict[str, float]:
    """How near a function comes to the signed distance on a square grid, by rows.

    Args:
        found: its values, in sides of the square.
        true: the signed distances.

    Returns:
        Mean squared errors of it and of the best constant in the square's own units, the share
        of right signs, and the steepest slope between two neighbours.
    """
    count = round(len(found) ** 0.5)
    rows = found.reshape(count, count)
    steps = max(np.abs(np.diff(rows, axis=axis)).max() for axis in (0, 1))
    return {
        "error": float(np.square(SIDE * (found - true)).mean()),
        "constant": float(np.var(SIDE * true)),
        "right": float((np.sign(found) == np.sign(true)).mean()),
        "steepest": float(steps * count) * (1 - 1e-6),
    }
