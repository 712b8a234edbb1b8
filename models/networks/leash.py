"""Held weights on a leash while they train: a short pull often, a whole one seldom.

A pull on a large matrix straightens the few directions that went furthest, for a small share of
the work of a Newton-Schulz step; every few pulls, and at the end, such a step brings back the rest.
All other held weights get their step at every pull.  How often to pull follows from how far they
went.
"""

import torch
from torch import Tensor, nn

from models.errors import CertifyError
from models.networks.holding import (
    ADVICE,
    EAGER_DRIFT,
    Held,
    held_weights,
    next_interval,
    pulled_back,
)
from models.networks.orthogonal import straightening

FOLLOWED = 16
"""Directions of a large matrix that every pull straightens."""
LARGE = 128
"""Shorter side from which a matrix is large."""
WHOLE_EVERY = 8
"""Pulls from one whole one to the next."""
STEEP = 3.0
"""σ² - 1 of a direction from which pulls come more often: it stretches by 2."""
CALM = 0.1
"""σ² - 1, or drift of a weight that is not large, up to which pulls come as seldom as they may;
above, twice as often: between two pulls a loss on the radii sees them too large."""
LOST = 99.0
"""σ² - 1 from which a matrix is given up: it stretches by 10."""
MOST_TURNS = 4
"""Straightenings before a Newton-Schulz step, which wants every σ below √3."""


class Leash:
    """Pulls a network's held weights back after a step, when it is time.

    Attributes:
        interval: steps from one pull to the next.
        drift: the largest drift before a whole pull so far; for large matrices without the
            directions that were straightened.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        interval: int,
        longest: int,
        generator: torch.Generator,
        short: bool = True,
    ) -> None:
        """A leash for some steps of training, such as an epoch.

        Args:
            network: whose weights are changed in their places.
            interval: steps to the first pull, and between pulls until their drift says otherwise.
            longest: most steps between two pulls.
            generator: draws the directions that large matrices are first looked at along.
            short: whether pulls on large matrices are short; whole steps do where an optimiser
                goes equally far along all directions.
        """
        self._held = list(held_weights(network))
        self._directions = [_start(weight, generator) if short else None for weight in self._held]
        self._longest, self._pulls = longest, 0
        self.interval, self.drift = interval, 0.0

    @torch.no_grad()
    def pull(self, *, place: str, last: bool = False) -> None:
        """Pull every held weight back, and set the interval.

        Args:
            place: where training stands, for the error.
            last: whether no other pull follows, so that it is a whole one.

        Raises:
            CertifyError: If a weight is not finite, or went so far that it does not come back.
        """
        self._pulls += 1
        whole = last or self._pulls % WHOLE_EVERY == 0
        worst = steepest = 0.0
        for at, weight in enumerate(self._held):
            directions = self._directions[at]
            if directions is not None:
                self._directions[at], found = _straighten(weight, directions, whole, place)
                steepest = max(steepest, found)
                if whole:
                    pulled, drifted = weight.manifold.step(weight.parameter)
                    weight.parameter.copy_(pulled)
                    self.drift = max(self.drift, float(drifted))
            else:
                pulled, before = pulled_back(weight.parameter, weight.manifold, place=place)
                weight.parameter.copy_(pulled)
                self.drift, worst = max(self.drift, before), max(worst, before)
        calm = max(worst, steepest) < CALM
        longest = self._longest if calm else max(1, self._longest // 2)
        drift = max(worst, EAGER_DRIFT * steepest / STEEP)
        self.interval = next_interval(self.interval, drift=drift, longest=longest)


def _straighten(weight: Held, directions: Tensor, whole: bool, place: str) -> tuple[Tensor, float]:
    """A short pull on a large matrix, in its place; its directions, the largest σ² - 1 before.

    Before a whole pull it is straightened until no direction is found that is near the reach of a
    Newton-Schulz step.
    """
    matrix, worst = weight.parameter.flatten(1), 0.0
    for _ in range(MOST_TURNS if whole else 1):
        try:
            left, right, directions, steepest = straightening(matrix, directions)
        except CertifyError as fault:
            raise CertifyError(f"{place}: {fault}; {ADVICE}") from None
        worst = max(worst, steepest)
        if worst >= LOST:
            raise CertifyError(
                f"{place}: between two projections a matrix drifted to norm "
                f"{(1 + worst) ** 0.5:.3g}; accepted is below 10; {ADVICE}"
            )
        matrix.addmm_(left, right.mT)
        if steepest < EAGER_DRIFT:
            break
    return directions, worst


def _start(weight: Held, generator: torch.Generator) -> Tensor | None:
    """Directions to begin with; None for a weight that gets whole steps alone."""
    shape = weight.parameter.flatten(1).shape
    if not weight.manifold.one_matrix(weight.parameter) or min(shape) < LARGE:
        return None
    directions: Tensor = torch.linalg.qr(torch.randn(min(shape), FOLLOWED, generator=generator)).Q
    return directions.to(weight.parameter.device)
