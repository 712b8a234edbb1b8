"""x less its own mean over some axes: what an orthogonal projection leaves, so distances shrink."""

import math

import numpy as np

from models.audit.groups.wiring import Wiring
from models.audit.step import Step, grouped


def centred(wiring: Wiring, step: Step) -> Step | None:
    """The group that ends in the difference of x and its mean."""
    if list(step.facts.get("signs", ())) != [1, -1]:
        return None
    for source, taken in (step.operands, step.operands[::-1]):
        end = wiring.unmoved(taken)[-1]
        mean = wiring.before(end)
        if mean is None or not mean.facts.get("mean") or mean.operands != (source,):
            continue
        spread = wiring.places(end, wiring.between(end, taken))[taken]
        if np.array_equal(spread, _own_means(wiring.shapes[source], mean.facts["axes"])):
            inside = wiring.between(source, step.result)
            return grouped("x less its mean", source, inside, walked=True)
    return None


def _own_means(shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """For each entry the number of the mean that it is in."""
    kept = [1 if at in axes else side for at, side in enumerate(shape, start=1)]
    numbers = np.arange(math.prod(kept)).reshape(1, *kept)
    return np.broadcast_to(numbers, (1, *shape))
