"""How the learning rate goes from step to step: a rise, then one of three ways on."""

import math
from collections.abc import Callable

AFTER_THE_RISE: dict[str, Callable[[float], float]] = {
    "linear": lambda left: left,
    "cosine": lambda left: (1 - math.cos(math.pi * left)) / 2,
    "constant": lambda _left: 1.0,
}
"""Share of the peak rate, by the share of the steps after the rise that are left, from 1 to 0."""


def rate_factor(step: int, *, total: int, warm_up: float, schedule: str) -> float:
    """Share of the peak learning rate at a step.

    Args:
        step: from 0.
        total: steps of the whole training.
        warm_up: share of them over which the rate rises in a line, in [0, 1).
        schedule: a key of `AFTER_THE_RISE`.

    Returns:
        More than 0 at every step, and 1 at the peak.

    Source: the half wave is Loshchilov and Hutter's, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", ICLR 2017, arXiv:1608.03983.
    """
    rising = round(warm_up * total)
    if step < rising:
        return (step + 1) / rising
    return AFTER_THE_RISE[schedule]((total - step) / (total - rising))
