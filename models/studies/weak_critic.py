"""The largest mean margin on interleaved classes: a straight line, which separates nothing.

Clusters of two classes alternate on a line at unit distance, N of each class with mass (1 - δ) / N;
a further δ lies on the first of class 0 and on the last of class 1.  So to the left of every point
there is more of class 0 than of class 1, and E₁f - E₀f = ∫ f′ (F₀ - F₁) is largest where f′ = 1
everywhere.  A line has one threshold, and the clusters want 2 N - 1 of them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linprog
from scipy.stats import wasserstein_distance

from models.networks.losses.hinges import binary_kr_loss
from models.splits import Dataset
from models.studies.finding import Expectation, Finding, Panel, at_least, at_most, near, series
from models.studies.points import fit, proved, signed_network
from models.studies.registry import Outcome, Setting

CASES = ((10, 0.05, 0.4275), (50, 0.01, 0.4851))
"""N, δ, and the error of the best threshold, (1 - δ - (1 - δ) / N) / 2."""
EXAMPLES = 2000  # of each class, dealt to the clusters by their masses
READING = (
    "The mean margin is how far the average example of one class lies above the average of the "
    "other. It is what the Kantorovich-Rubinstein loss maximises, and half of it bounds the mean "
    "certified radius. Its maximiser is found here by linear programming over all 1-Lipschitz "
    "functions on the clusters, and by training a network.",
    "The zig-zag is 1-Lipschitz too and makes no error at all: its radius is half the distance of "
    "two clusters, everywhere. So what is certified says nothing without the clean accuracy "
    "beside it; the hinge or the temperature in a loss is what asks for that.",
)
CAPTION = (
    "Classes alternate along the line, dots below of class 0 and above of class 1. The function "
    "of the largest mean margin, and the trained network, climb all the way; the zig-zag follows "
    "the clusters."
)
Line = Float[np.ndarray, " clusters"]
Masses = Float[np.ndarray, "2 clusters"]


def runs(*, quick: bool) -> list[Setting]:
    """One run to a case; the network trains for less in the quick form."""
    return [
        {"clusters": clusters, "extra": extra, "error": error, "steps": 200 if quick else 800}
        for clusters, extra, error in CASES
    ]


def run(setting: Setting, *, seed: int, data: Dataset | None) -> Outcome:  # noqa: ARG001
    """Three 1-Lipschitz functions on a case's clusters: the best, a trained one, a zig-zag."""
    places, masses = interleaved(setting["clusters"], extra=setting["extra"])
    zigzag = np.where(np.arange(len(places)) % 2 == 0, -0.5, 0.5)
    trained, bound = trained_critic(places, masses, steps=setting["steps"], seed=seed)
    functions = {"best": largest_margin(places, masses), "network": trained, "zigzag": zigzag}
    return setting | {
        "places": places.tolist(),
        "distance": float(wasserstein_distance(places, places, masses[1], masses[0])),
        "network_bound": bound,
        "zigzag_slope": float(np.abs(np.diff(zigzag) / np.diff(places)).max()),
        "values": {name: (f - f.mean()).tolist() for name, f in functions.items()},
        "margins": {name: mean_margin(f, masses) for name, f in functions.items()},
        "errors": {name: threshold_error(f, masses) for name, f in functions.items()},
    }


def conclude(outcomes: Sequence[Outcome], *, quick: bool) -> Finding:  # noqa: ARG001
    """Hold both cases against what their masses say."""
    expectations: list[Expectation] = []
    numbers: dict[str, float | int | str] = {}
    for each in outcomes:
        case = f"N = {each['clusters']}, δ = {each['extra']:g}"
        errors, margins, most = each["errors"], each["margins"], each["error"]
        expectations += [
            near(
                f"{case}: largest mean margin / W₁",
                margins["best"] / each["distance"],
                1,
                within=1e-6,
            ),
            near(f"{case}: least error of any threshold on it", errors["best"], most, within=1e-9),
            at_most(f"{case}: slope of the zig-zag", each["zigzag_slope"], 1),
            at_most(f"{case}: error of the zig-zag", errors["zigzag"], 0),
            at_most(f"{case}: proven bound of the network", each["network_bound"], 1 + 1e-5),
            at_least(
                f"{case}: network's mean margin / W₁", margins["network"] / each["distance"], 0.98
            ),
            near(
                f"{case}: least error of any threshold on the network",
                errors["network"],
                most,
                within=0.01,
            ),
        ]
        numbers[f"{case}: W₁"] = each["distance"]
        numbers |= {f"{case}: mean margin, {name}": found for name, found in margins.items()}
    return Finding(tuple(expectations), numbers, _panels(outcomes[0]), CAPTION)


def interleaved(clusters: int, *, extra: float) -> tuple[Line, Masses]:
    """Places 0, 1, 2, ... of the clusters, and the masses of class 0 and of class 1 on each."""
    places = np.arange(2.0 * clusters)
    masses = np.zeros((2, 2 * clusters))
    masses[0, ::2] = masses[1, 1::2] = (1 - extra) / clusters
    masses[0, 0] += extra
    masses[1, -1] += extra
    return places, masses


def largest_margin(places: Line, masses: Masses) -> Line:
    """The 1-Lipschitz function on the places of the largest mean margin, by linear programming.

    On a line it is enough that neighbours differ by no more than their distance.
    """
    step = np.diff(np.eye(len(places)), axis=0)
    reach = np.diff(places)
    answer = linprog(
        masses[0] - masses[1],
        A_ub=np.concatenate((step, -step)),
        b_ub=np.concatenate((reach, reach)),
        bounds=[(0, 0), *[(None, None)] * (len(places) - 1)],
        method="highs",
    )
    best: Line = np.asarray(answer.x, dtype=np.float64)
    return best


def mean_margin(f: Line, masses: Masses) -> float:
    """E f over class 1 less E f over class 0."""
    return float((masses[1] - masses[0]) @ f)


def threshold_error(f: Line, masses: Masses) -> float:
    """The least error of the classifier f > t over all t, both classes equally frequent."""
    thresholds = np.concatenate(([-np.inf], np.unique(f.round(9))))
    above = f.round(9)[None, :] > thresholds[:, None]
    errors = (above @ masses[0] + ~above @ masses[1]) / 2
    return float(errors.min())


def trained_critic(places: Line, masses: Masses, *, steps: int, seed: int) -> tuple[Line, float]:
    """A network trained for the Kantorovich-Rubinstein term: its values, and its proven bound."""
    dealt = [np.repeat(places, np.round(EXAMPLES * each).astype(int)) for each in masses]
    labels = torch.tensor(np.repeat([0, 1], [len(each) for each in dealt]))
    width = places[-1] - places[0]
    points = torch.tensor(np.concatenate(dealt)[:, None] / width, dtype=torch.float32)
    network = signed_network(points, widths=(32, 32), seed=seed)
    fit(network, lambda _: binary_kr_loss(network(points), labels), steps=steps, rate=1e-2)
    critic = proved(network)
    return width * critic.values(places[:, None] / width), critic.lipschitz_bound


def _panels(each: Outcome) -> tuple[Panel, ...]:
    x, values = each["places"], each["values"]
    low, high = min(values["best"]) - 1, max(values["best"]) + 1
    drawn = (
        series("class 0", x[::2], [low] * len(x[::2]), kind="dots", tone=3),
        series("class 1", x[1::2], [high] * len(x[1::2]), kind="dots", tone=1),
        series("largest mean margin", x, values["best"], tone=0),
        series("trained network", x, values["network"], kind="dashed", tone=2),
        series("zig-zag without an error", x, values["zigzag"], tone=1),
    )
    return (Panel(f"f on {each['clusters']} clusters of each class", "place", drawn),)
