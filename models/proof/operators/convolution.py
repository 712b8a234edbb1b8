"""Conv and ConvTranspose: linear maps that are known by a kernel and by where its windows lie."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor
from torch.nn import functional

from models.proof.norms.torus import Axis, absolute_kernel_bound, convolution_norm_bound
from models.proof.operators.operator import Constant, Operator, Stretch
from models.proof.upward import norm_bound, up

_CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@dataclass(frozen=True, kw_only=True)
class Windowed(Operator):
    """What both kinds have: a kernel, a bias to a channel, and an `Axis` to each axis of an image.

    Attributes:
        kernel: as the file stores it.
        bias: one entry to a channel of the result.
        strides: along each axis of the image.
        dilations: along each axis of the image.
        pads: zeros, or entries cut off a transposed result: all begins, then all ends.
        groups: of channels; each is convolved by itself.
        sides: of the larger image, the one that windows read or write.
        windows: along each axis of that image.
    """

    kernel: Constant
    bias: Constant | None = None
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    groups: int
    sides: tuple[int, ...]
    windows: tuple[int, ...]

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Where windows lie along each axis."""
        taps = self.kernel.array.shape[2:]
        columns = zip(
            self.sides, self.windows, taps, self.strides, self.dilations, self.pads, strict=False
        )
        return tuple(Axis(*column) for column in columns)

    @property
    def by_group(self) -> np.ndarray:
        """The kernel as `(groups, channels of a window, channels read, *taps)`."""
        first, *rest = self.kernel.array.shape
        return self.kernel.array.reshape(self.groups, first // self.groups, *rest)

    def stretch(self, shape: tuple[int, ...]) -> Stretch:
        """The norm of the map or of its adjoint, which is the same."""
        taps = math.prod(self.kernel.array.shape[2:])
        channels = self.by_group.shape[1 if isinstance(self, TransposedConvolution) else 2]
        offset = 0.0
        if self.bias is not None:
            positions = math.prod(shape[1:])
            offset = up(norm_bound(self.bias.array) * math.sqrt(positions), 2)
        return Stretch(
            method="frequencies of a torus, or windows",
            factor=convolution_norm_bound(self.by_group, self.axes),
            offset=offset,
            roundings=channels * taps + 1,
            absolute=absolute_kernel_bound(self.by_group, self.axes),
            terms=channels * taps,
            largest=self.kernel.largest,
        )

    def biased(self, result: Tensor) -> Tensor:
        """The result with the bias of each channel."""
        if self.bias is None:
            return result
        return result + self.bias.tensor(result).view(-1, *[1] * len(self.sides))


@dataclass(frozen=True, kw_only=True)
class Convolution(Windowed):
    """Conv: the kernel is `(out, in / groups, *taps)`."""

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """A place to each window."""
        return (len(self.kernel.array), *self.windows)

    def run(self, *values: Tensor) -> Tensor:
        """Zeros around the image, then the windows."""
        x, axes = values[0], len(self.sides)
        if any(self.pads):
            x = functional.pad(x, _as_torch_pads(self.pads))
        result = _CONVOLVE[axes](
            x,
            self.kernel.tensor(x),
            stride=self.strides,
            dilation=self.dilations,
            groups=self.groups,
        )
        return self.biased(result)


@dataclass(frozen=True, kw_only=True)
class TransposedConvolution(Windowed):
    """ConvTranspose: the kernel is `(in, out / groups, *taps)`."""

    def shape_after(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The image that windows write."""
        return (self.kernel.array.shape[1] * self.groups, *self.sides)

    def run(self, *values: Tensor) -> Tensor:
        """All that the windows write, then the part of it that is the result."""
        x, axes = values[0], len(self.sides)
        result = _TRANSPOSED[axes](
            x,
            self.kernel.tensor(x),
            stride=self.strides,
            dilation=self.dilations,
            groups=self.groups,
        )
        begins = self.pads[:axes]
        missing = [
            side - (written - begin)
            for side, written, begin in zip(self.sides, result.shape[2:], begins, strict=True)
        ]
        cut = _as_torch_pads((*(-begin for begin in begins), *missing))
        return self.biased(functional.pad(result, cut) if any(cut) else result)


def _as_torch_pads(pads: tuple[int, ...]) -> list[int]:
    """Begins and ends of each axis, the last axis first."""
    axes = len(pads) // 2
    pairs = [(pads[axis], pads[axes + axis]) for axis in reversed(range(axes))]
    return [pad for pair in pairs for pad in pair]
