"""What a job may say of its training: frozen, closed to unknown keys, free of torch."""

from typing import Any

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from models.loss_spec import CertifiedRadiusLossSpec, LossSpec, loss_dials
from models.spec import Eps, Spec, parse_eps


class TrainSpec(Spec):
    """How the weights are found."""

    epochs: PositiveInt = 12
    """Passes over the training part."""
    batch_size: PositiveInt = 256
    """Examples in a step."""
    for_eps: Eps | None = None
    """Budget to be certified; sets those keys of `loss` that are left out."""
    loss: LossSpec = CertifiedRadiusLossSpec()
    """What is minimised."""
    learning_rate: PositiveFloat = 4e-3
    """Peak step of the orthogonal weights; head and biases take three quarters of it."""
    warm_up: NonNegativeFloat = Field(default=0.05, lt=1)
    """Share of the steps over which the learning rate rises from 0."""
    project_every: PositiveInt = 4
    """Most steps between two projections of the matrices; fewer while they drift far."""

    @model_validator(mode="before")
    @classmethod
    def _what_is_left_out_follows(cls, found: Any) -> Any:
        """A loss without a name is the first one; a wished ε sets dials, and explicit keys win."""
        if not isinstance(found, dict):
            return found
        filled = dict(found)
        if isinstance(filled.get("loss", {}), dict):
            filled["loss"] = {"name": "certified-radius"} | filled.get("loss", {})
        try:
            eps = parse_eps(found.get("for_eps"))
        except ValueError:
            return filled  # none is wished, or the key's own validator says what is wrong
        if isinstance(filled["loss"], dict):
            filled["loss"] = loss_dials(str(filled["loss"]["name"]), eps) | filled["loss"]
        return filled
