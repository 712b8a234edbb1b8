"""Two classes on a line, and the best 1-Lipschitz classifiers of them: a convex problem, solved.

Class 1 is 90 % N(2, 0.3) and 10 % N(-1, 0.1); class 0 is its mirror image.  Both are equally
frequent, so some best f is odd.  On a grid f is given by its slopes, each in [-1, 1]: the loss is
convex in them, and the gradient at any point bounds from below what any other can reach.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog, minimize
from scipy.special import expit
from scipy.stats import norm, wasserstein_distance

PARTS = ((0.9, 2.0, 0.3), (0.1, -1.0, 0.1))
"""Share, mean and standard deviation of each part of class 1."""
REACH, STEPS = 4.0, 1000  # of the grid, to either side of 0
COARSE_STEPS = 80  # of the grid of linear programs
Line = Float[np.ndarray, " places"]


@dataclass(frozen=True)
class Optimum:
    """A best 1-Lipschitz function on the grid.

    Attributes:
        value: of its objective.
        least: no 1-Lipschitz function on the grid has less.
        f: its values at the grid's places.
    """

    value: float
    least: float
    f: Line


def places(steps: int = STEPS) -> Line:
    """The grid from -4 to 4, so many steps to either side; both halves are mirror images."""
    half = np.arange(steps + 1) * (REACH / steps)
    return np.concatenate((-half[:0:-1], half))


def masses(steps: int = STEPS) -> tuple[Line, Line]:
    """Masses of class 0 and of class 1 on the grid; each sums to 1."""
    x = places(steps)
    dense = sum(share * norm.pdf(x, mean, deviation) for share, mean, deviation in PARTS)
    one: Line = np.asarray(dense / np.sum(dense))
    return one[::-1].copy(), one


def sample(count: int) -> tuple[Line, np.ndarray]:
    """So many examples of each class at even quantiles, and their labels."""
    _, one = masses()
    quantiles = (np.arange(count) + 0.5) / count
    drawn = np.interp(quantiles, np.cumsum(one) - one / 2, places())
    return np.concatenate((-drawn, drawn)), np.repeat([0, 1], count)


def distance() -> float:
    """W₁ of the two classes on the grid."""
    zero, one = masses()
    return float(wasserstein_distance(places(), places(), zero, one))


def cross_entropy(f: Line, *, tau: float) -> float:
    """Mean of log(1 + exp(-τ y f)) over both classes, y = ±1.

    Args:
        f: at the grid's places.
        tau: τ, 1 / T of the losses here, whose value is 1/τ of this.
    """
    zero, one = masses()
    return float(one @ np.logaddexp(0, -tau * f) + zero @ np.logaddexp(0, tau * f)) / 2


def accuracy(f: Line) -> float:
    """Share of both classes on the right side of 0; half of what lies on it."""
    zero, one = masses()
    return float(one @ (1 + np.sign(f)) + zero @ (1 - np.sign(f))) / 4


def least_cross_entropy(tau: float, *, lipschitz: float = 1.0) -> Optimum:
    """The least cross-entropy of any function on the grid with a Lipschitz bound.

    `least` is the value less the largest gain that the gradient allows within the bounds: the loss
    is convex, so it lies above its tangents.

    Args:
        tau: τ, as in `cross_entropy`.
        lipschitz: the bound on slopes.
    """
    _, one = masses()
    right, left = one[STEPS:], one[STEPS::-1].copy()  # an odd f: left of 0 counts mirrored
    left[0] = 0.0
    h = REACH / STEPS

    def objective(slopes: Line) -> tuple[float, Line]:
        f = np.concatenate(([0.0], np.cumsum(slopes) * h))
        value = right @ np.logaddexp(0, -tau * f) + left @ np.logaddexp(0, tau * f)
        by_f = tau * (left * expit(tau * f) - right * expit(-tau * f))
        by_slope = h * np.cumsum(by_f[:0:-1])[::-1]
        return float(value), by_slope

    found = minimize(
        objective,
        np.full(STEPS, 0.5 * lipschitz),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-lipschitz, lipschitz)] * STEPS,
        options={"maxiter": 4000, "maxfun": 8000, "ftol": 1e-15, "gtol": 1e-10},
    )
    value, slope = objective(found.x)
    gain = float(slope @ found.x + lipschitz * np.abs(slope).sum())
    half = np.concatenate(([0.0], np.cumsum(found.x) * h))
    return Optimum(value, value - gain, np.concatenate((-half[:0:-1], half)))


def least_hkr(*, kr: float, hinge: float, margin: float, lipschitz: float = 1.0) -> Optimum:
    """The least -kr · KR + hinge · hinge of any function on a coarser grid: a linear program.

    Args:
        kr: weight of the Kantorovich-Rubinstein term.
        hinge: weight of the hinge; α of the papers where `kr` is 1.
        margin: of the hinge.
        lipschitz: the bound on slopes.
    """
    zero, one = masses(COARSE_STEPS)
    count = len(one)
    step, unit = np.diff(np.eye(count), axis=0), np.eye(count)
    none, nothing = np.zeros((count - 1, count)), np.zeros((count, count))
    # Variables: f, then what class 1 and what class 0 lack to the margin, at each place.
    rows = (
        [step, none, none],
        [-step, none, none],
        [-unit, -unit, nothing],
        [unit, nothing, -unit],
    )
    most = np.repeat((lipschitz * REACH / COARSE_STEPS, -margin), (2 * (count - 1), 2 * count))
    answer = linprog(
        np.concatenate((kr * (zero - one), hinge / 2 * one, hinge / 2 * zero)),
        A_ub=np.block([list(row) for row in rows]),
        b_ub=most,
        bounds=[(-REACH * lipschitz, REACH * lipschitz)] * count + [(0, None)] * (2 * count),
        method="highs",
    )
    return Optimum(float(answer.fun), float(answer.fun), np.asarray(answer.x[:count]))
