"""Bodies of the architectures, layer by layer, from their specs.

Every layer stretches nothing, or is held near those that do not, and each orthogonal layer has a
bias and an `AbsHalf` behind it.
"""

import math
from collections.abc import Iterator

from torch import nn

from models.model_spec import (
    CnnSpec,
    ImageSpec,
    LinearSpec,
    LipNextSpec,
    LipResNetSpec,
    TrainedSpec,
)
from models.networks.activations import AbsHalf
from models.networks.convolutions.block import BlockConvolution
from models.networks.convolutions.near_orthogonal import Kernels, ResidualKernels
from models.networks.geometry import L2Pool, Shift, SpaceToDepth
from models.networks.holding import Manifold, ReshapedKernels, hold
from models.networks.residuals import ContractiveResidual
from models.networks.shift_block import ShiftBlock

Shape = tuple[int, int, int]
NARROWING = 2  # side of the blocks behind the convolutions
SHIFTED = 1 / 8  # of the channels in front of a matrix, that move in each of four directions


def body_layers(
    model: TrainedSpec, input_shape: Shape, *, components: int
) -> tuple[list[nn.Module], int]:
    """Layers between the view of the input and the head, their numbers still to be loaded.

    Args:
        model: the architecture.
        input_shape: channels, height, width.
        components: coordinates that the view of an `mlp` gives.

    Returns:
        The layers, and the features that the last one gives.
    """
    if isinstance(model, LinearSpec):
        channels, height, width = input_shape
        return [], channels * height * width
    if not isinstance(model, ImageSpec):
        return dense_layers(components, model.widths), model.widths[-1]
    shape = depth_shape(input_shape, model.patch)
    stem: list[nn.Module] = [SpaceToDepth(model.patch)]
    if isinstance(model, LipNextSpec):
        return [*stem, *shift_layers(model, shape), L2Pool()], model.channels
    trunk = convolutions(model, shape) if isinstance(model, CnnSpec) else residuals(model, shape)
    narrow, neck = (model.channels, *shape[1:]), []
    if model.neck:
        blocks = depth_shape(narrow, NARROWING)
        narrow = (2 * model.channels, *blocks[1:])
        neck = [SpaceToDepth(NARROWING), *pointwise_layers(blocks[0], narrow[0])]
    dense = [nn.Flatten(), *dense_layers(math.prod(narrow), model.widths)]
    return [*stem, *trunk, *neck, *dense], model.widths[-1]


def depth_shape(shape: Shape, block: int) -> Shape:
    """What `SpaceToDepth` makes of a shape."""
    channels, height, width = shape
    return channels * block**2, -(-height // block), -(-width // block)


def dense_layers(features: int, widths: tuple[int, ...]) -> list[nn.Module]:
    """Orthogonal layers with a fold behind each."""
    layers: list[nn.Module] = []
    for before, after in zip((features, *widths), widths, strict=False):
        layers += [hold(nn.Linear(before, after)), AbsHalf(after)]
    return layers


def pointwise_layers(before: int, after: int) -> list[nn.Module]:
    """An orthogonal matrix at every pixel, and a fold."""
    return [held_pointwise(before, after), AbsHalf(after)]


def convolutions(model: CnnSpec, shape: Shape) -> Iterator[nn.Module]:
    """Convolutions of one kind with a fold behind each."""
    before, *image = shape
    for _ in range(model.convolutions):
        if model.kernel == "shift":
            yield Shift(before, share=SHIFTED)
            yield held_pointwise(before, model.channels)
        elif model.kernel == "block":
            yield BlockConvolution(before, model.channels, side=3, padding=1)
        else:
            yield held_convolution(before, model.channels, Kernels((image[0], image[1])))
        yield AbsHalf(model.channels)
        before = model.channels


def residuals(model: LipResNetSpec, shape: Shape) -> Iterator[nn.Module]:
    """A matrix to the channels, then residual layers; the linear ones have a fold behind them."""
    before, height, width = shape
    yield from pointwise_layers(before, model.channels)
    for _ in range(model.depth):
        if model.block == "linear":
            manifold = ResidualKernels((height, width))
            yield held_convolution(model.channels, model.channels, manifold)
            yield AbsHalf(model.channels)
        else:
            yield ContractiveResidual(
                model.channels, model.channels, rule=model.block, image=(height, width)
            )


def shift_layers(model: LipNextSpec, shape: Shape) -> Iterator[nn.Module]:
    """A matrix to the channels, then blocks of LipNeXt."""
    before, height, width = shape
    yield from pointwise_layers(before, model.channels)
    for _ in range(model.depth):
        yield ShiftBlock(model.channels, image=(height, width), shifted=model.shifted)
        yield AbsHalf(model.channels)


def held_pointwise(before: int, after: int) -> nn.Conv2d:
    """An orthogonal matrix at every pixel."""
    return hold(nn.Conv2d(before, after, 1), manifold=ReshapedKernels())


def held_convolution(before: int, after: int, manifold: Manifold) -> nn.Conv2d:
    """A 3×3 convolution whose kernel is held near a manifold."""
    return hold(nn.Conv2d(before, after, 3, padding=1), manifold=manifold)
