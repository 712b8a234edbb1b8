"""What a job may say of its training: frozen, closed to unknown keys, free of torch."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from models.loss_spec import CertifiedRadiusLossSpec, LossSpec, loss_dials
from models.spec import Eps, Spec, parse_eps

Fraction = Annotated[float, Field(ge=0, le=1)]
ADAM_RATE = 4e-3


class AugmentSpec(Spec):
    """How training images are varied; everything is off unless it is asked for."""

    shift: NonNegativeInt = 0
    """Most pixels that an image is moved up, down, left or right; black comes in."""
    flip: bool = False
    """Whether half of the images are mirrored left to right."""
    cutout: NonNegativeInt = 0
    """Side of a black square, in pixels, put anywhere; it may reach over the edge."""
    operations: NonNegativeInt = 0
    """Random changes to an image (RandAugment): moves, turns, shears, zooms, light, contrast."""
    magnitude: Fraction = 0.3
    """Strength of those, from none to the strongest."""
    probability: Fraction = 0.5
    """Share of the images that get them."""
    noise: Fraction = 0.0
    """Standard deviation of Gaussian noise on every pixel: smoother networks, so larger radii."""

    @property
    def on(self) -> bool:
        """Whether any image is varied."""
        changed = self.operations and self.magnitude and self.probability
        return bool(self.shift or self.flip or self.cutout or self.noise or changed)


class AverageSpec(Spec):
    """An average of the weights over the last steps, which ships in their place."""

    start: float = Field(default=0.75, ge=0, lt=1)
    """Share of the steps that are over when averaging begins."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """Share of the average that outlives a step; 1 is the plain mean of all steps."""


class BestSpec(Spec):
    """Ship the epoch that is best on the validation part, and stop when none is better."""

    eps: Eps
    """Budget at which the certified accuracy decides, one of `certify.eps`; `train.for_eps` if left
    out."""
    patience: PositiveInt | None = None
    """Epochs without a better one after which training stops; never if left out."""


class TrainSpec(Spec):
    """How the weights are found."""

    epochs: PositiveInt = 12
    """Passes over the training part."""
    batch_size: PositiveInt = 256
    """Examples in a step."""
    accumulate: PositiveInt = 1
    """Parts that a step's examples are computed in: one after another, to save memory, or shared
    out among `resources.training_workers`."""
    for_eps: Eps | None = None
    """Budget to be certified; sets those keys of `loss` that are left out."""
    loss: LossSpec = CertifiedRadiusLossSpec()
    """What is minimised."""
    optimizer: Literal["muon", "adam"] = "muon"
    """How the orthogonal weights go: Muon turns them along all directions alike, at the price of
    some products; Adam's steps cost the least.  All other weights go by Adam."""
    learning_rate: PositiveFloat = 2e-2
    """Peak step of the orthogonal weights: the spectral norm of Muon's; Adam's is 4e-3 if left out.
    Head and biases take 0.15 of Muon's, 0.75 of Adam's."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate goes on from its peak: to 0 in a line or a half wave, or not at all."""
    warm_up: NonNegativeFloat = Field(default=0.05, lt=1)
    """Share of the steps over which the learning rate rises from 0."""
    project_every: PositiveInt = 8
    """Most steps between two pulls back to the orthogonal matrices; half of it, or fewer, where
    they drift far."""
    folded: float = Field(default=0.5, gt=0, lt=1)
    """Share of the examples that every fold turns at the start: with few a network begins almost
    linear, which fits less in short runs and in long ones leaves larger radii on new images."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the forward pass, and of Muon's products; weights and projections stay float32.  bfloat16
    needs matrix units for it: a GPU's, or those of a processor that has `amx_bf16`."""
    augment: AugmentSpec = AugmentSpec()
    """How training images are varied."""
    average: AverageSpec | None = None
    """Whether an average of the weights ships."""
    best: BestSpec | None = None
    """Whether the best epoch ships rather than the last."""

    @model_validator(mode="before")
    @classmethod
    def _what_is_left_out_follows(cls, found: Any) -> Any:
        """A loss without a name is the first; optimiser and ε set dials; explicit keys win."""
        if not isinstance(found, dict):
            return found
        filled = dict(found)
        if filled.get("optimizer") == "adam":
            filled = {"learning_rate": ADAM_RATE} | filled
        if isinstance(filled.get("loss", {}), dict):
            filled["loss"] = {"name": "certified-radius"} | filled.get("loss", {})
        try:
            eps = parse_eps(found.get("for_eps"))
        except ValueError:
            return filled  # none is wished, or the key's own validator says what is wrong
        if isinstance(filled["loss"], dict):
            filled["loss"] = loss_dials(str(filled["loss"]["name"]), eps) | filled["loss"]
        if isinstance(filled.get("best"), dict):
            filled["best"] = {"eps": eps} | filled["best"]
        return filled

    @model_validator(mode="after")
    def _parts_are_not_empty(self) -> "TrainSpec":
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate = {self.accumulate} leaves parts of a batch empty; accepted is at "
                f"most batch_size, {self.batch_size}"
            )
        return self
