"""What a job may ask to be minimised, and the dials that suit a wished ε.

Units: radii are input units; logit units are those of logits made 1-Lipschitz, as the docstring of
each loss says, so that a gap of √2 (logits 1-Lipschitz together) or of 2 (each by itself) is worth
a radius of 1.
"""

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from models.spec import Eps, Spec

MEASURED_DIALS = ((0.25, 0.5, 0.12), (0.5, 0.75, 0.25), (1.0, 1.0, 0.5))
"""ε, and the margin and temperature of the certified-radius loss without saturation that did best
there: the first on scikit-learn's digits, the others on a validation part of Fashion-MNIST."""

SATURATING_DIALS = ((0.5, 0.6, 0.2, 0.8), (1.0, 1.1, 0.3, 1.5))
"""ε, and margin, temperature and saturation of the certified-radius loss that did best there, at a
clean accuracy above 0.84, on a validation part of Fashion-MNIST."""


class CertifiedRadiusLossSpec(Spec):
    """Softened hinge on the certified radii themselves."""

    name: Literal["certified-radius"] = "certified-radius"
    margin: PositiveFloat = 0.75
    """Radius at which the pull fades, in input units."""
    temperature: PositiveFloat = 0.25
    """Width of the fading, in input units."""
    saturation: PositiveFloat | None = None
    """Most that one example can cost, in input units: less gives up more of those that have no
    radius, for larger ones elsewhere; no limit if left out."""


class EmmaLossSpec(Spec):
    """Cross-entropy against rivals lifted by what an adaptive radius could give them."""

    name: Literal["emma"]
    eps: Eps = 0.75
    """Radius to be certified in the end, in input units; published runs take up to 3 ε."""
    start: Eps | None = None
    """Radius at the first step, from which it rises to `eps` over the first half of the steps;
    published runs take 0.1.  `eps` from the first step on if left out."""

    @model_validator(mode="after")
    def _it_rises(self) -> "EmmaLossSpec":
        if self.start is not None and self.start > self.eps:
            raise ValueError(f"start = {self.start:g}; accepted is at most eps, {self.eps:g}")
        return self


class CrossEntropyLossSpec(Spec):
    """Cross-entropy of the logits divided by a temperature."""

    name: Literal["cross-entropy"]
    temperature: PositiveFloat = 1.0
    """In logit units, 1 / τ; small values trade robustness for accuracy."""


class OffsetCrossEntropyLossSpec(Spec):
    """Cross-entropy after the true class was handicapped by an offset."""

    name: Literal["offset-cross-entropy"]
    offset: NonNegativeFloat = 1.0
    """Gap at which the pull fades, in logit units."""
    temperature: PositiveFloat = 0.35
    """Width of the fading, in logit units."""


class LogitAnnealingLossSpec(Spec):
    """Offset cross-entropy that lets go of the examples that have a margin."""

    name: Literal["logit-annealing"]
    offset: NonNegativeFloat = 2.0
    """Taken from the true class's logit, in logit units."""
    temperature: PositiveFloat = 0.75
    """In logit units."""
    exponent: float = Field(default=5.0, ge=1)
    """β: how soon an example with a margin is let go."""


class HingeLossSpec(Spec):
    """What the gap to the strongest rival lacks to a margin."""

    name: Literal["hinge"]
    margin: PositiveFloat = 1.0
    """Gap at which the pull ends, in logit units."""


class KrLossSpec(Spec):
    """The Kantorovich-Rubinstein term alone: it pulls without end and hardly classifies."""

    name: Literal["kr"]


class HkrLossSpec(Spec):
    """Kantorovich-Rubinstein term and hinge, each class against all others."""

    name: Literal["hkr"]
    margin: PositiveFloat = 0.75
    """Of the hinge, in logit units."""
    alpha: NonNegativeFloat = 10.0
    """α, weight of the hinge; a library's share a in [0, 1) is α = a / (1 - a)."""


class SoftHkrLossSpec(Spec):
    """HKR with the rivals weighted by a softmax."""

    name: Literal["soft-hkr"]
    margin: PositiveFloat = 0.75
    """Of the hinge, in logit units."""
    alpha: NonNegativeFloat = 10.0
    """α, weight of the hinge."""
    temperature: PositiveFloat = 0.25
    """Of the softmax, in logit units."""


class LseHkrLossSpec(Spec):
    """HKR against the rivals' log-sum-exp."""

    name: Literal["lse-hkr"]
    margin: PositiveFloat = 0.75
    """Of the hinge, in logit units."""
    alpha: NonNegativeFloat = 10.0
    """α, weight of the hinge."""
    temperature: PositiveFloat = 0.25
    """Of the log-sum-exp, in logit units."""


LossSpec = Annotated[
    CertifiedRadiusLossSpec
    | EmmaLossSpec
    | CrossEntropyLossSpec
    | OffsetCrossEntropyLossSpec
    | LogitAnnealingLossSpec
    | HingeLossSpec
    | KrLossSpec
    | HkrLossSpec
    | SoftHkrLossSpec
    | LseHkrLossSpec,
    Field(discriminator="name"),
]

LOSSES = (
    "certified-radius", "emma", "cross-entropy", "offset-cross-entropy", "logit-annealing",
    "hinge", "kr", "hkr", "soft-hkr", "lse-hkr",
)  # fmt: skip
"""Names of the losses."""


def at_share(spec: LossSpec, share: float) -> LossSpec:
    """The loss as it is once a share of the steps is over, in [0, 1]; only `emma` may change.

    Source: Hu et al., arXiv:2301.12549, whose runs raise ε over the first half of training.
    """
    if not isinstance(spec, EmmaLossSpec) or spec.start is None:
        return spec
    risen = spec.start + min(1.0, 2 * share) * (spec.eps - spec.start)
    return EmmaLossSpec(name="emma", eps=risen)


def radius_dials(eps: float) -> tuple[float, float]:
    """Margin and temperature of the certified-radius loss for a wished ε, in input units.

    In a line between the measured pairs; below the least and above the largest ε of them, in
    proportion to ε.
    """
    (least, *low), (largest, *high) = MEASURED_DIALS[0], MEASURED_DIALS[-1]
    if eps <= least:
        return low[0] * eps / least, low[1] * eps / least
    for (before, *start), (after, *end) in pairwise(MEASURED_DIALS):
        if eps <= after:
            part = (eps - before) / (after - before)
            return start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])
    return high[0] * eps / largest, high[1] * eps / largest


def saturating_dials(eps: float) -> dict[str, float]:
    """Keys of the certified-radius loss for a wished ε.

    From the first of `SATURATING_DIALS` on they are those, in a line between them and in
    proportion to ε beyond; below it nothing is measured with a saturation, and there is none.
    """
    (least, *low), (largest, *high) = SATURATING_DIALS
    if eps < least:
        margin, temperature = radius_dials(eps)
        return {"margin": margin, "temperature": temperature}
    part = min(1.0, (eps - least) / (largest - least))
    beyond = max(1.0, eps / largest)
    found = [beyond * (a + part * (b - a)) for a, b in zip(low, high, strict=True)]
    return dict(zip(("margin", "temperature", "saturation"), found, strict=True))


def loss_dials(name: str, eps: float) -> dict[str, Any]:
    """Keys of a loss that suit a wished ε.

    Those of the certified-radius loss are measured.  The others translate them: a gap of logits
    that are 1-Lipschitz together is worth √2 of a radius, a single logit that is 1-Lipschitz by
    itself is worth 1, as the gap of two is worth 2.

    Args:
        name: of the loss; an unknown one has no keys.
        eps: radius to be certified, in input units.
    """
    margin, temperature = radius_dials(eps)
    gap = math.sqrt(2)
    return {
        "certified-radius": saturating_dials(eps),
        "emma": {"eps": margin},
        "cross-entropy": {"temperature": gap * temperature},
        "offset-cross-entropy": {"offset": gap * margin, "temperature": gap * temperature},
        "logit-annealing": {"offset": gap * margin, "temperature": gap * temperature},
        "hinge": {"margin": gap * margin},
        "hkr": {"margin": margin},
        "soft-hkr": {"margin": margin, "temperature": temperature},
        "lse-hkr": {"margin": margin, "temperature": temperature},
    }.get(name, {})
