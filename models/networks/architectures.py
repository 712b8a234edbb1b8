"""Networks from their specs: a fixed view of the input, an orthogonal body, a linear head.

`Classifier` is the network that trains.  What ships is `folded`: the same function in torch's own
layers, Flatten, Linear, PReLU, ..., Linear, with nothing left that a runtime could merge.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.networks.layers import AbsHalf, CentredAxes, as_prelu
from models.networks.orthogonal import polar_factor, random_orthogonal
from models.networks.principal_axes import mean_image, pixel_blocks, principal_axes
from models.spec import LinearSpec, MlpSpec
from models.splits import Split


class Classifier(nn.Module):
    """Centred axes, orthogonal layers with an `AbsHalf` after each, and a plain linear head.

    Attributes:
        view: the fixed map of the input.
        body: layers whose weights are held near the orthogonal matrices; none in `linear`.
        head: the last layer, free.
    """

    def __init__(self, view: CentredAxes, widths: tuple[int, ...], *, classes: int) -> None:
        super().__init__()
        sizes = (view.components, *widths)
        self.view = view
        self.activation = AbsHalf()
        self.body = nn.ModuleList(
            _blank_linear(before, after) for before, after in zip(sizes, widths, strict=False)
        )
        self.head = _blank_linear(sizes[-1], classes)

    @property
    def orthogonal_layers(self) -> list[nn.Linear]:
        """The body's layers, in order."""
        return [layer for layer in self.body if isinstance(layer, nn.Linear)]

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of images in [0, 1]."""
        features = self.view(images.flatten(1))
        for layer in self.orthogonal_layers:
            features = self.activation(layer(features))
        logits: Tensor = self.head(features)
        return logits


def blank_classifier(
    model: LinearSpec | MlpSpec, *, pixels: int, components: int, classes: int
) -> Classifier:
    """A classifier of the right shapes whose numbers are still to be loaded.

    Args:
        model: the architecture.
        pixels: numbers in an image, C·H·W.
        components: principal axes that the view keeps; ignored by `linear`.
        classes: how many.
    """
    if isinstance(model, LinearSpec):
        return Classifier(CentredAxes(torch.zeros(pixels), None), (), classes=classes)
    view = CentredAxes(torch.zeros(pixels), torch.zeros(components, pixels))
    return Classifier(view, model.widths, classes=classes)


def kept_components(model: MlpSpec, *, pixels: int, examples: int) -> int:
    """How many principal axes there are to keep: centred examples span one less than they are."""
    wanted = model.widths[0] if model.components is None else model.components
    return max(1, min(wanted, pixels, examples - 1))


@torch.no_grad()
def initial_classifier(
    model: LinearSpec | MlpSpec, split: Split, *, classes: int, generator: torch.Generator
) -> Classifier:
    """A classifier at its start: the data's axes, random orthogonal matrices, halved folds.

    Each bias is minus the median of its pre-activation on the first block of the split, so that
    every fold starts with as many examples on one side as on the other.
    """
    pixels = math.prod(split.images.shape[1:])
    centre = mean_image(split)
    axes = None
    if isinstance(model, MlpSpec):
        components = kept_components(model, pixels=pixels, examples=len(split))
        axes = principal_axes(split, centre, components=components, generator=generator).float()
    widths = model.widths if isinstance(model, MlpSpec) else ()
    network = Classifier(CentredAxes(centre.float(), axes), widths, classes=classes)
    features = network.view(next(pixel_blocks(split)))
    for layer in network.orthogonal_layers:
        rows, columns = layer.weight.shape
        layer.weight.copy_(random_orthogonal(rows, columns, generator=generator))
        layer.bias.copy_(-(features @ layer.weight.T).median(dim=0).values)
        features = network.activation(layer(features))
    network.head.weight.normal_(std=network.head.in_features**-0.5, generator=generator)
    network.head.bias.zero_()
    return network


@torch.no_grad()
def folded(network: Classifier) -> nn.Sequential:
    """The same function with exact polar factors, in torch's own layers: what ships.

    View and first matrix become one Linear, multiplied in float64 and rounded to float32 once.

    Returns:
        Flatten, then Linear and PReLU in turn, then the head; on the processor, in eval mode.
    """
    matrices = [polar_factor(layer.weight) for layer in network.orthogonal_layers]
    matrices.append(_exact(network.head.weight))
    biases = [_exact(layer.bias) for layer in (*network.orthogonal_layers, network.head)]
    if network.view.axes is not None:
        matrices[0] = matrices[0] @ polar_factor(network.view.axes)
    biases[0] = biases[0] - matrices[0] @ _exact(network.view.centre)
    layers: list[nn.Module] = [nn.Flatten()]
    for matrix, bias in zip(matrices, biases, strict=True):
        layer = _blank_linear(matrix.shape[1], matrix.shape[0])
        layer.weight.copy_(matrix)
        layer.bias.copy_(bias)
        layers += [layer, as_prelu(layer.out_features)]
    return nn.Sequential(*layers[:-1]).eval()


def _blank_linear(inputs: int, outputs: int) -> nn.Linear:
    """A layer whose start draws nothing from torch's global generator."""
    with torch.device("meta"):
        layer = nn.Linear(inputs, outputs)
    return layer.to_empty(device="cpu")


def _exact(tensor: Tensor) -> Tensor:
    return tensor.detach().to(device="cpu", dtype=torch.float64)
