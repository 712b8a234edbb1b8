"""What a network is made of and what it costs, counted without a number of it in memory.

The network is built and run on torch's `meta` device, which knows shapes alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.model_spec import TrainedSpec
from models.networks.classifier import blank_classifier, kept_components

BYTES_TRAINED = 16  # a float32 weight, its gradient and Adam's two moments
EXAMPLES = 2  # the fewest by which what an example costs can be told from what a batch does


@dataclass(frozen=True)
class LayerSummary:
    """A layer of a network.

    Attributes:
        name: of its kind.
        shape: of what it gives for one example.
        parameters: numbers that are trained.
        operations: floating-point ones for one example, forwards; a multiplication and an addition
            are two.  What is done once a batch, such as composing a kernel, is not in it.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    operations: int


@dataclass(frozen=True)
class NetworkSummary:
    """A network, and what a training step of it takes.

    Attributes:
        layers: view, body and head, in order.
        weight_bytes: of weights, gradients and moments.
        example_bytes: kept for the gradient, for each example of a batch.
    """

    layers: tuple[LayerSummary, ...]
    weight_bytes: int
    example_bytes: int

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def operations(self) -> int:
        """For one example, forwards."""
        return sum(layer.operations for layer in self.layers)

    def training_operations(self, *, batch_size: int) -> int:
        """Of a training step: a pass forwards, and two as long backwards."""
        return 3 * batch_size * self.operations

    def training_bytes(self, *, batch_size: int) -> int:
        """Memory of a training step, without what torch itself takes."""
        return self.weight_bytes + batch_size * self.example_bytes


def summarise(
    model: TrainedSpec, *, input_shape: tuple[int, int, int], classes: int, examples: int
) -> NetworkSummary:
    """Count a network's parameters, operations and memory.

    Args:
        model: the architecture.
        input_shape: channels, height, width of an image.
        classes: how many.
        examples: of the training part; an `mlp` has no more principal axes than they span.
    """
    channels, height, width = input_shape
    components = kept_components(model, pixels=channels * height * width, examples=examples)
    network = blank_classifier(
        model, input_shape=input_shape, components=components, classes=classes, device="meta"
    )
    features = torch.empty(EXAMPLES, *input_shape, device="meta")
    layers, kept = [], 0
    for layer in (network.view, *network.body, network.head):
        operations, taken, features = _run(layer, features)
        kept += taken
        parameters = sum(parameter.numel() for parameter in layer.parameters())
        shape = tuple(features.shape[1:])
        layers.append(LayerSummary(type(layer).__name__, shape, parameters, operations))
    trained = sum(layer.parameters for layer in layers)
    return NetworkSummary(tuple(layers), BYTES_TRAINED * trained, kept)


def _run(layer: nn.Module, features: Tensor) -> tuple[int, int, Tensor]:
    """Operations and kept bytes of one more example, and what the layer gives."""
    counts = []
    for examples in range(1, EXAMPLES + 1):
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor, kept: dict[int, Tensor] = kept) -> Tensor:
            kept[id(tensor)] = tensor
            return tensor

        given = features[:examples].detach().requires_grad_()
        with (
            FlopCounterMode(display=False) as counter,
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            out = layer(given)
        taken = sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
        counts.append((counter.get_total_flops(), taken))
    (operations_1, kept_1), (operations_2, kept_2) = counts
    return operations_2 - operations_1, kept_2 - kept_1, out.detach()
