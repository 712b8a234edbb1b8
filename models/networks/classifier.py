"""Networks from their specs: a fixed view of the input, an orthogonal body, a linear head.

`Classifier` is the network that trains.  What ships is `folded`: the same function in torch's own
layers, with nothing left that a runtime could merge.
"""

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.errors import JobError
from models.model_spec import ImageSpec, MlpSpec, TrainedSpec
from models.networks.architectures import body_layers
from models.networks.blank import blank
from models.networks.holding import manifolds
from models.networks.orthogonal import polar_factor
from models.networks.principal_axes import mean_image, pixel_blocks, principal_axes
from models.networks.shipping import shipped
from models.networks.views import CentredAxes, CentredImage
from models.splits import Examples

MOST_BYTES, BYTES_OF_ONE = 2**31, 4  # of an ONNX file, and of a float32 number in it
START_ENTRIES = 2**24  # of a layer's features for all examples that choose its biases


class Classifier(nn.Module):
    """A view, a body that stretches nothing once it is projected, and a free linear head.

    Attributes:
        view: the fixed map of the input.
        body: layers whose weights are held near the orthogonal ones; none in `linear`.
        head: the last layer, free.
    """

    def __init__(
        self, view: CentredAxes | CentredImage, body: nn.Sequential, head: nn.Linear
    ) -> None:
        super().__init__()
        self.view = view
        self.body = body
        self.head = head

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of images in [0, 1]."""
        logits: Tensor = self.head(self.body(self.view(images)))
        return logits


@runtime_checkable
class Starts(Protocol):
    """A layer that knows how it begins."""

    def start(self, *, generator: torch.Generator) -> None:
        """Draw its parameters."""


def blank_classifier(
    model: TrainedSpec,
    *,
    input_shape: tuple[int, int, int],
    components: int,
    classes: int,
    device: str = "cpu",
) -> Classifier:
    """A classifier of the right shapes whose numbers are still to be loaded.

    Args:
        model: the architecture.
        input_shape: channels, height, width of an image.
        components: principal axes that the view of an `mlp` keeps; the others have none.
        classes: how many.
        device: where the numbers will be; `meta` for none at all.
    """

    def make() -> Classifier:
        layers, features = body_layers(model, input_shape, components=components)
        pixels = math.prod(input_shape)
        view: CentredAxes | CentredImage
        if isinstance(model, ImageSpec):
            view = CentredImage(torch.empty(input_shape))
        else:
            axes = torch.empty(components, pixels) if isinstance(model, MlpSpec) else None
            view = CentredAxes(torch.empty(pixels), axes)
        return Classifier(view, nn.Sequential(*layers), nn.Linear(features, classes))

    return blank(make, device=device)


def refuse_unshippable(
    model: TrainedSpec, *, input_shape: tuple[int, int, int], classes: int, examples: int
) -> None:
    """Refuse a network that no ONNX file can hold, before a number of it is in memory.

    Raises:
        JobError: With the parameters, and what is accepted.
    """
    components = kept_components(model, pixels=math.prod(input_shape), examples=examples)
    network = blank_classifier(
        model, input_shape=input_shape, components=components, classes=classes, device="meta"
    )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if BYTES_OF_ONE * parameters >= MOST_BYTES:
        raise JobError(
            f"model.architecture {model.architecture!r}: found {parameters:,} parameters; accepted "
            f"are fewer than {MOST_BYTES // BYTES_OF_ONE:,}, as the ONNX file that ships holds at "
            "most 2 GiB"
        )


def kept_components(model: TrainedSpec, *, pixels: int, examples: int) -> int:
    """How many principal axes there are to keep: centred examples span one less than they are."""
    if not isinstance(model, MlpSpec):
        return 0
    wanted = model.widths[0] if model.components is None else model.components
    return max(1, min(wanted, pixels, examples - 1))


@torch.no_grad()
def initial_classifier(
    model: TrainedSpec,
    split: Examples,
    *,
    classes: int,
    generator: torch.Generator,
    turned: float = 0.5,
) -> Classifier:
    """A classifier at its start: the data's mean and axes, random orthogonal weights, placed folds.

    Each bias is minus a quantile of what its layer gives on the first block of the split, so that
    every fold turns a share of the examples; the head's makes its mean logits 0.

    Args:
        model: the architecture.
        split: the training part.
        classes: how many.
        generator: draws the weights.
        turned: share of the examples that every fold turns, in (0, 1).
    """
    channels, height, width = split.input_shape
    components = kept_components(model, pixels=channels * height * width, examples=len(split))
    network = blank_classifier(
        model, input_shape=(channels, height, width), components=components, classes=classes
    )
    centre = mean_image(split)
    network.view.centre.copy_(centre.view_as(network.view.centre))
    if isinstance(network.view, CentredAxes) and network.view.axes is not None:
        axes = principal_axes(split, centre, components=components, generator=generator)
        network.view.axes.copy_(axes)
    block = next(pixel_blocks(split))
    features = network.view(block.view(-1, channels, height, width))
    for layer in network.body:
        _start(layer, generator=generator)
        largest = max(features[0].numel(), layer(features[:1]).numel())
        features = features[: max(1, START_ENTRIES // largest)]
        bias = getattr(layer, "bias", None)
        if isinstance(bias, Tensor):
            bias.copy_(-_quantiles(layer(features), turned))
        features = layer(features)
    network.head.weight.normal_(std=network.head.in_features**-0.5, generator=generator)
    network.head.bias.zero_()
    network.head.bias.copy_(-network.head(features).mean(dim=0))
    return network


@torch.no_grad()
def folded(network: Classifier) -> nn.Sequential:
    """The same function with exactly orthogonal weights, in torch's own layers: what ships.

    The axes of the view and the first matrix become one Linear, multiplied in float64 and rounded
    to float32 once.

    Returns:
        The layers in order, the head last; on the processor, in eval mode.
    """
    first, *others = [*network.body, network.head]
    return nn.Sequential(*_entrance(network.view, first), *map(shipped, others)).eval()


def _entrance(view: CentredAxes | CentredImage, first: nn.Module) -> list[nn.Module]:
    """The view and the first layer."""
    if isinstance(view, CentredImage) or not isinstance(first, nn.Linear):
        return [shipped(view), shipped(first)]
    held = manifolds(first)
    matrix = held["weight"].end(first.weight) if held else _exact(first.weight)
    if view.axes is not None:
        matrix = matrix @ polar_factor(view.axes)
    layer = blank(lambda: nn.Linear(matrix.shape[1], matrix.shape[0]))
    layer.weight.copy_(matrix)
    layer.bias.copy_(_exact(first.bias) - matrix @ _exact(view.centre))
    return [nn.Flatten(), layer]


def _start(layer: nn.Module, *, generator: torch.Generator) -> None:
    """Draw a layer's parameters; a bias of 0."""
    if isinstance(layer, Starts):
        layer.start(generator=generator)
        return
    for name, manifold in manifolds(layer).items():
        weight = layer.get_parameter(name)
        weight.copy_(manifold.random(weight, generator=generator))
        layer.get_parameter("bias").zero_()


def _quantiles(
    features: Float[Tensor, "batch width *space"], share: float
) -> Float[Tensor, " width"]:
    """What a share of each feature's values, over examples and pixels, lies below."""
    values = features.movedim(1, -1).flatten(0, -2)
    return values.kthvalue(1 + int(share * len(values)), dim=0).values


def _exact(tensor: Tensor) -> Tensor:
    return tensor.detach().to(device="cpu", dtype=torch.float64)
