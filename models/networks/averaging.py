"""An average of the weights along the way: it ships in the place of the last ones.

Late steps circle around a point that they do not reach; their mean is nearer to it.  A mean of
orthogonal matrices is shorter than they are, never longer; the projection of what ships makes it
orthogonal again.

Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM Journal
on Control and Optimization 30(4), 1992; Izmailov et al., "Averaging Weights Leads to Wider Optima
and Better Generalization", UAI 2018, arXiv:1803.05407.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from models.train_spec import AverageSpec


def newest_share(step: int, *, total: int, spec: AverageSpec) -> float:
    """What the weights after a step count for in the average.

    The k-th average counts them 1 / k, which is the plain mean, but never less than 1 - decay,
    which is the exponential one once it has steps enough behind it.

    Args:
        step: the step that was made, from 0.
        total: steps of the whole training.
        spec: when averaging begins, and how fast it forgets.

    Returns:
        0 before the average begins, 1 at its first step.
    """
    averaged = step - math.floor(spec.start * total) + 1
    return 0.0 if averaged < 1 else max(1 - spec.decay, 1 / averaged)


@torch.no_grad()
def moved(
    average: Mapping[str, Tensor], weights: Mapping[str, Tensor], *, share: float
) -> dict[str, Tensor]:
    """The average after weights were counted in; `average` is empty before the first."""
    if share == 0:
        return dict(average)
    if not average:
        return {name: weight.detach().clone() for name, weight in weights.items()}
    return {name: average[name].lerp(weight, share) for name, weight in weights.items()}
