"""How many points a classifier that answers only above a margin can shatter: a packing number.

The classifier answers the sign of a 1-Lipschitz f where |f| ≥ m, and "unknown" elsewhere.  It
shatters points exactly where any two are 2 m apart: then y_i m is 1-Lipschitz on the points for
every labelling y, and McShane's extension carries it to all of the space; two nearer points cannot
have m and -m.  So its VC dimension is the number of points at mutual distances of 2 m or more that
the domain has room for.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
from jaxtyping import Bool, Int

from models.splits import Dataset
from models.studies.finding import Expectation, Finding, Panel, at_least, at_most, equal, series
from models.studies.registry import Outcome, Setting

MARGINS = ((Fraction(1, 4), 3), (Fraction(1, 10), 6), (Fraction(1, 20), 11), (Fraction(1, 100), 51))
"""m, and the VC dimension on [0, 1]."""
MOST_LABELLED = 11  # points whose labellings are all tried: 2048
DRAWN = 500  # labellings that are tried of more points
PLANE_MARGIN = 0.01
IMAGE = {"inputs": 784, "margin": 0.25, "neurons": 1024, "images": 60_000}
"""Fashion-MNIST, a margin of which the cube holds a ball of radius 2 m, and a network."""
READING = (
    "An unknown answer is no answer, so a set of points is shattered only if every labelling of "
    "it is answered with a margin. Each labelling is built here: McShane's extension of the "
    "labels is evaluated on the points and its slopes on a grid. With one point more, two come "
    "closer than 2 m, and the alternating labels cannot be had.",
    "For a convex domain X of n dimensions that holds a ball of radius 2 m, volumes give "
    "(1/2m)ⁿ vol X / vol B ≤ VC ≤ (3/2m)ⁿ vol X / vol B, B the unit ball: a largest packing "
    "by balls of radius m covers X when the radius is doubled, and its balls are disjoint in a "
    "domain that is half as large again.",
    "The paper prints (1/m)ⁿ and (3/m)ⁿ in their places. Its lower bound cannot hold: in the unit "
    "square with m = 0.01 it asks for 3183 points, and no more than 2987 fit, by Oler's "
    "inequality. Its upper bound is true, and larger than need be.",
    "In the dimension of images all of this is vacuous: the bounds, and the bound of GroupSort "
    "networks by their neurons as well, exceed every number of training images by hundreds of "
    "orders of magnitude. They show that the dimension is finite, not that a network generalises.",
)
CAPTION = (
    "The number of points that are shattered falls with the margin, between the two bounds. In the "
    "square the lower bound as it is printed lies above what can fit at all, once m is small."
)


def runs(*, quick: bool) -> list[Setting]:  # noqa: ARG001
    """All of it is one run, and exact."""
    return [{}]


def run(setting: Setting, *, seed: int, data: Dataset | None) -> Outcome:  # noqa: ARG001
    """Shatter points of the interval, fail with one more, and count in the square."""
    rng = np.random.default_rng(seed)
    return {
        "line": [_on_the_line(margin, rng=rng) for margin, _ in MARGINS],
        "hexagonal": hexagonal_points(PLANE_MARGIN),
        "cap": packing_cap(PLANE_MARGIN),
        "bounds": [bound(PLANE_MARGIN, inputs=2, factor=f) for f in (0.5, 1.5, 1.0, 3.0)],
    }


def conclude(outcomes: Sequence[Outcome], *, quick: bool) -> Finding:  # noqa: ARG001
    """Hold the counts against the margins, and the bounds against the counts."""
    (found,) = outcomes
    low, high, printed_low, printed_high = found["bounds"]
    expectations: list[Expectation] = []
    for (margin, expected), row in zip(MARGINS, found["line"], strict=True):
        name = f"[0, 1], m = {float(margin):g}"
        m = float(margin)
        expectations += [
            equal(f"{name}: points that are shattered", row["points"], expected),
            equal(f"{name}: labellings of them that were not reached", row["missed"], 0),
            at_least(
                f"{name}: labellings of one point more that cannot be had", row["impossible"], 1
            ),
            at_least(
                f"{name}: points / lower bound", row["points"] / bound(m, inputs=1, factor=0.5), 1
            ),
            at_most(
                f"{name}: points / upper bound",
                row["points"] / bound(m, inputs=1, factor=1.5),
                1 + 1e-9,
            ),
        ]
    square = f"unit square, m = {PLANE_MARGIN:g}"
    expectations += [
        at_least(f"{square}: points of a hexagonal grid", found["hexagonal"], low),
        at_most(f"{square}: most points that can fit", found["cap"], high),
        at_least(
            f"{square}: most that can fit, less those of the grid",
            found["cap"] - found["hexagonal"],
            0,
        ),
        at_least(
            f"{square}: printed lower bound, above what can fit", printed_low, found["cap"] + 1
        ),
    ]
    numbers = {
        f"{square}: (1/2m)ⁿ vol X / vol B": low,
        f"{square}: (3/2m)ⁿ vol X / vol B": high,
        f"{square}: as printed, (1/m)ⁿ vol X / vol B": printed_low,
        f"{square}: as printed, (3/m)ⁿ vol X / vol B": printed_high,
    } | _in_image_dimension()
    return Finding(tuple(expectations), numbers, _panels(found), CAPTION)


def spread_points(margin: Fraction) -> list[Fraction]:
    """As many points of [0, 1] as fit at distances of 2 m, from 0 on."""
    return [2 * margin * k for k in range(int(1 / (2 * margin)) + 1)]


def had(
    points: Sequence[Fraction], labellings: Int[np.ndarray, "labellings points"], margin: Fraction
) -> Bool[np.ndarray, " labellings"]:
    """Which labellings the extension of m times the labels has on the points.

    McShane: f(x) = min_i (m y_i + |x - x_i|) is the largest 1-Lipschitz function that is nowhere
    above m y_i at x_i; it reaches them all exactly where some 1-Lipschitz function does.  In whole
    numbers, so that no rounding decides.

    Source: McShane, "Extension of Range of Functions", Bulletin of the AMS 40, 1934.
    """
    unit = math.lcm(margin.denominator, *(point.denominator for point in points))
    places = np.array([int(point * unit) for point in points])
    wanted = int(margin * unit) * labellings
    apart = np.abs(places[:, None] - places)
    reached = (wanted[:, None, :] + apart).min(axis=2)
    exact: np.ndarray = (reached == wanted).all(axis=1)
    return exact


def bound(margin: float, *, inputs: int, factor: float) -> float:
    """(factor / m)ⁿ vol X / vol B of the unit cube."""
    return 2 ** log2_bound(margin, inputs=inputs, factor=factor)


def log2_bound(margin: float, *, inputs: int, factor: float) -> float:
    """The base-2 logarithm of `bound`: in image dimension the number itself overflows."""
    ball = inputs / 2 * math.log(math.pi) - math.lgamma(inputs / 2 + 1)
    return inputs * math.log2(factor / margin) - ball / math.log(2)


def packing_cap(margin: float) -> int:
    """Most points of the unit square at mutual distances of d = 2 m or more.

    Oler's inequality: 2/√3 area / d² + perimeter / 2 d + 1 for a convex set.

    Source: Oler, "An Inequality in the Geometry of Numbers", Acta Mathematica 105, 1961.
    """
    d = 2 * margin
    return math.floor(2 / math.sqrt(3) / d**2 + 4 / (2 * d) + 1)


def hexagonal_points(margin: float) -> int:
    """Points of a hexagonal grid of side 2 m in the unit square: a packing, not the best."""
    d = 2 * margin
    rows = math.floor(1 / (d * math.sqrt(3) / 2) + 1e-9) + 1
    full, between = math.floor(1 / d + 1e-9) + 1, math.floor(1 / d - 0.5 + 1e-9) + 1
    return (rows + 1) // 2 * full + rows // 2 * between


def _on_the_line(margin: Fraction, *, rng: np.random.Generator) -> Outcome:
    """Try labellings of as many points as fit, and of one more."""
    points = spread_points(margin)
    crowd = [Fraction(k, len(points)) for k in range(len(points) + 1)]
    tried = _labellings(len(points), rng=rng)
    return {
        "points": len(points),
        "tried": len(tried),
        "missed": int((~had(points, tried, margin)).sum()),
        "impossible": int((~had(crowd, _alternating(len(crowd)), margin)).sum()),
    }


def _labellings(count: int, *, rng: np.random.Generator) -> np.ndarray:
    """All labellings of a few points; of many the alternating ones and some at random."""
    if count <= MOST_LABELLED:
        return np.array(list(product((-1, 1), repeat=count)))
    return np.concatenate((_alternating(count), rng.choice((-1, 1), size=(DRAWN, count))))


def _alternating(count: int) -> np.ndarray:
    signs = (-1) ** np.arange(count)
    return np.stack((signs, -signs))


def _in_image_dimension() -> dict[str, float]:
    n, m, neurons = IMAGE["inputs"], IMAGE["margin"], IMAGE["neurons"]
    where = f"images, n = {n}, m = {m:g}"
    return {
        f"{where}: log₂ of the lower bound": log2_bound(m, inputs=int(n), factor=0.5),
        f"{where}: log₂ of the upper bound": log2_bound(m, inputs=int(n), factor=1.5),
        f"{where}: log₂ of GroupSort's (n + 1) 2^W, W = {neurons}": math.log2(n + 1) + neurons,
        "log₂ of 60,000 training images": math.log2(IMAGE["images"]),
    }


def _panels(found: Outcome) -> tuple[Panel, ...]:
    m = np.geomspace(0.01, 0.25, 40)
    counts = [row["points"] for row in found["line"]]
    grids = [0.01, 0.02, 0.05, 0.1, 0.25]
    panels = []
    for inputs, title in ((1, "points of [0, 1]"), (2, "points of the unit square")):
        low, high, printed = (
            [bound(each, inputs=inputs, factor=factor) for each in m] for factor in (0.5, 1.5, 1.0)
        )
        packed = (
            series("points shattered", [float(each) for each, _ in MARGINS], counts, kind="dots")
            if inputs == 1
            else series("hexagonal grid", grids, [hexagonal_points(g) for g in grids], kind="dots")
        )
        cap = (
            ()
            if inputs == 1
            else (series("most that fit", m, [packing_cap(x) for x in m], tone=2),)
        )
        drawn = (
            packed,
            *cap,
            series("lower bound", m, low, tone=0),
            series("upper bound", m, high, tone=0, kind="dashed"),
            series("lower bound as printed", m, printed, tone=1),
        )
        panels.append(Panel(title, "margin m", drawn, log_x=True, log_y=True))
    return tuple(panels)
