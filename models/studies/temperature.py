"""The temperature of the cross-entropy is the Lipschitz bound of the network in disguise.

Cross-entropy at τ of the functions with slopes up to 1 is cross-entropy at 1 of those with slopes
up to τ.  So τ sets which classifier is best: on two classes with outliers a small one gives up the
outliers for a straight line, and a large one turns to fetch them.
"""

from collections.abc import Sequence

import torch

from models.networks.losses.cross_entropies import binary_cross_entropy_loss
from models.splits import Dataset
from models.studies import line
from models.studies.finding import Expectation, Finding, Panel, at_least, at_most, near, series
from models.studies.points import fit, proved, signed_network
from models.studies.registry import Outcome, Setting

LEAST = {1.0: 0.24995, 2.0: 0.17938, 4.0: 0.09938, 8.0: 0.04124}
"""τ, and the least cross-entropy of a 1-Lipschitz function."""
ACCURACIES = {1.0: 0.900, 2.0: 0.900, 4.0: 0.980, 8.0: 0.994}
EXCESS = 0.15  # of a network above the optimum
EXAMPLES = 1000  # of each class
WIDTHS, RATE = (64, 64, 64), 1e-2
READING = (
    "Each class is a large cluster and a small one that lies on the other class’s side. The loss "
    "is the mean of log(1 + exp(-τ y f)); the losses of this project, and the papers, divide it by "
    "τ and write T = 1/τ. The least value is found on a grid by convex optimisation, with a lower "
    "bound from the gradient; the networks are trained on examples, and their values are divided "
    "by their proven bound before they are compared, so that none may lie below.",
    "A τ-Lipschitz function under the plain cross-entropy has the same optimum, to the last "
    "digits: whoever chooses a temperature chooses a Lipschitz bound. A τ that is too small for "
    "the gap between the clusters gives up the small one, whatever the network; this is the "
    "place to turn where clean accuracy is missing.",
)
CAPTION = (
    "The best 1-Lipschitz functions, and networks dashed, at the least and the largest τ. At τ = 1 "
    "f rises all the way and leaves the small clusters, at ±1, on the wrong side; at τ = 8 it "
    "turns to give each its sign."
)


def runs(*, quick: bool) -> list[Setting]:
    """One run to a τ; networks train for less in the quick form."""
    return [{"tau": tau, "steps": 450 if quick else 4000} for tau in LEAST]


def run(setting: Setting, *, seed: int, data: Dataset | None) -> Outcome:  # noqa: ARG001
    """The best function at a τ, and a network."""
    tau = setting["tau"]
    best = line.least_cross_entropy(tau)
    disguised = line.least_cross_entropy(1.0, lipschitz=tau)
    x, labels = line.sample(EXAMPLES)
    points, sides = torch.tensor(x[:, None], dtype=torch.float32), torch.tensor(labels)
    network = signed_network(points, widths=WIDTHS, seed=seed)

    def loss(_: int) -> torch.Tensor:
        return binary_cross_entropy_loss(network(points), sides, temperature=1 / tau)

    fit(network, loss, steps=setting["steps"], rate=RATE)
    found = proved(network)
    f = found.values(line.places()[:, None]) / found.lipschitz_bound
    return setting | {
        "least": best.value,
        "lower_bound": best.least,
        "disguised": disguised.value,
        "accuracy": line.accuracy(best.f),
        "network_loss": line.cross_entropy(f, tau=tau),
        "network_accuracy": line.accuracy(f),
        "bound": found.lipschitz_bound,
        "best": best.f[::10].tolist(),
        "network": f[::10].tolist(),
    }


def conclude(outcomes: Sequence[Outcome], *, quick: bool) -> Finding:  # noqa: ARG001
    """Hold the optima against their known values, and the networks against the optima."""
    expectations: list[Expectation] = []
    numbers: dict[str, float | int | str] = {}
    for each in outcomes:
        tau = each["tau"]
        excess = each["network_loss"] / each["least"]
        expectations += [
            near(f"τ = {tau:g}: least cross-entropy", each["least"], LEAST[tau], within=1e-5),
            near(
                f"τ = {tau:g}: least at τ = 1 with slopes up to τ / the same",
                each["disguised"] / each["least"],
                1,
                within=0.005,
            ),
            near(f"τ = {tau:g}: accuracy", each["accuracy"], ACCURACIES[tau], within=0.002),
            at_most(f"τ = {tau:g}: proven bound of the network", each["bound"], 1 + 1e-5),
            at_most(f"τ = {tau:g}: network / optimum", excess, 1 + EXCESS),
            at_least(
                f"τ = {tau:g}: network less the optimum’s lower bound",
                each["network_loss"] - each["lower_bound"],
                0,
            ),
        ]
        numbers |= {
            f"τ = {tau:g}: cross-entropy of the network": each["network_loss"],
            f"τ = {tau:g}: accuracy of the network": each["network_accuracy"],
        }
    return Finding(tuple(expectations), numbers, _panels(outcomes), CAPTION)


def _panels(outcomes: Sequence[Outcome]) -> tuple[Panel, ...]:
    x = line.places()[::10]
    panels = []
    for each in (outcomes[0], outcomes[-1]):
        drawn = (
            series("best 1-Lipschitz function", x, each["best"], tone=0),
            series("network", x, each["network"], tone=1, kind="dashed"),
        )
        panels.append(Panel(f"f at τ = {each['tau']:g}", "x", drawn))
    zero, one = (mass[::10] for mass in line.masses())
    drawn = (series("class 1", x, one, tone=0), series("class 0", x, zero, tone=1))
    return (*panels, Panel("density of the classes", "x", drawn))
