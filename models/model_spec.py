"""Which network a job trains, or which file it certifies: one spec to an architecture.

The shape of the input and the number of classes come from the data.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, field_validator

from models.spec import Spec, of_form


def _one_or_more(widths: tuple[int, ...]) -> tuple[int, ...]:
    if not widths:
        raise ValueError("accepted are one or more widths")
    return widths


Sha256 = Annotated[
    str, of_form("[0-9a-f]{64}", accepted="accepted are 64 hexadecimal digits, the letters small")
]
Widths = Annotated[tuple[PositiveInt, ...], Field(strict=False), AfterValidator(_one_or_more)]


class LinearSpec(Spec):
    """One linear layer: the baseline that every certified accuracy must be held against."""

    architecture: Literal["linear"]


class MlpSpec(Spec):
    """Centred input, its leading principal axes, orthogonal layers, a linear head."""

    architecture: Literal["mlp"] = "mlp"
    widths: Widths = (256, 256, 256)
    """Features of each orthogonal layer."""
    components: PositiveInt | None = None
    """Principal axes that are kept; the first width if left out, never more than the data has."""


class CnnSpec(Spec):
    """Blocks of pixels as channels, orthogonal convolutions, then orthogonal layers."""

    architecture: Literal["cnn"]
    patch: PositiveInt = 4
    """Side of the blocks of pixels that become the channels of one."""
    channels: PositiveInt = 64
    """Channels of each convolution."""
    convolutions: PositiveInt = 2
    """How many convolutions."""
    kernel: Literal["near-orthogonal", "block", "shift"] = "near-orthogonal"
    """Of 3×3 pixels, free taps held near the orthogonal kernels or exact products of projectors,
    BCOP's; or a shift of half of the channels by a pixel, and an orthogonal matrix."""
    neck: bool = True
    """Whether blocks of side 2 become channels, mixed to twice as many, before the rest."""
    widths: Widths = (512, 256)
    """Features of each orthogonal layer behind the convolutions."""


class LipNextSpec(Spec):
    """Blocks of pixels as channels, then orthogonal 1×1 convolutions with shifts between them."""

    architecture: Literal["lipnext"]
    patch: PositiveInt = 4
    """Side of the blocks of pixels that become the channels of one."""
    channels: PositiveInt = 256
    """Channels of each block; the parameters grow with its square."""
    depth: PositiveInt = 8
    """How many blocks."""
    shifted: float = Field(default=1 / 16, gt=0, lt=0.25)
    """Share of the channels that is shifted in each of four directions."""


class LipResNetSpec(Spec):
    """Blocks of pixels as channels, residual layers, then orthogonal layers."""

    architecture: Literal["lipresnet"]
    patch: PositiveInt = 4
    """Side of the blocks of pixels that become the channels of one."""
    channels: PositiveInt = 64
    """Channels of each residual layer."""
    depth: PositiveInt = 4
    """How many residual layers."""
    block: Literal["linear", "sll", "cpl"] = "linear"
    """x + K * x and a fold, K + 1 held near the orthogonal kernels; or x - B relu(A x + b)."""
    neck: bool = True
    """Whether blocks of side 2 become channels, mixed to twice as many, before the rest."""
    widths: Widths = (512, 256)
    """Features of each orthogonal layer behind the residual layers."""


class OnnxSpec(Spec):
    """An ONNX file that was trained elsewhere: it is certified, and nothing is trained."""

    architecture: Literal["onnx"]
    path: str = Field(min_length=1)
    """The file; a relative path starts at the folder of the job file."""
    sha256: Sha256 | None = None
    """Hash of the file with all its weights; another file is refused. Filled in if left out."""
    mean: tuple[float, ...] | None = Field(default=None, strict=False)
    """What is subtracted from the pixels before the file, one number or one to a channel."""
    std: tuple[PositiveFloat, ...] | None = Field(default=None, strict=False)
    """What divides the pixels after that, one number or one to a channel."""
    classes: tuple[str, ...] | None = Field(default=None, strict=False)
    """Names of the classes in the order of the logits; those of the data if left out."""

    @field_validator("mean", "std", "classes")
    @classmethod
    def _holds_something(cls, found: tuple[object, ...] | None) -> tuple[object, ...] | None:
        if found == ():
            raise ValueError("accepted are one or more")
        return found


ImageSpec = CnnSpec | LipNextSpec | LipResNetSpec
TrainedSpec = LinearSpec | MlpSpec | ImageSpec
ModelSpec = Annotated[TrainedSpec | OnnxSpec, Field(discriminator="architecture")]
