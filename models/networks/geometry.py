"""Layers that move or pool features of images without stretching: most of them have no weights.

Features are on axis 1, height and width behind it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Images = Float[Tensor, "batch channels height width"]


class SpaceToDepth(nn.Module):
    """Every block of pixels as channels of one pixel; a permutation, after filling up with zeros.

    Zeros go to the right and below, where the sides are no multiples of the block.  The channels of
    a pixel come to lie side by side: what follows multiplies them by matrices.
    """

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, images: Images) -> Float[Tensor, "batch more rows columns"]:
        """Fewer pixels, more channels."""
        height, width = images.shape[2:]
        missing = (0, -width % self.block, 0, -height % self.block)
        filled = functional.pad(images, missing) if any(missing) else images
        unfolded = functional.pixel_unshuffle(filled, self.block)
        return unfolded.contiguous(memory_format=torch.channels_last)


class Shift(nn.Module):
    """Shares of the channels moved by one pixel up, down, left and right, around the edges.

    Convolving each channel by a kernel of its own keeps all lengths only if every kernel is one
    tap of ±1, so that a depthwise isometry is a shift.

    Source: LipNeXt, "Scaling up Lipschitz-based Certified Robustness to Billion-parameter Models",
    arXiv:2601.18513.
    """

    def __init__(self, channels: int, *, share: float) -> None:
        """A shift of some channels.

        Args:
            channels: in and out.
            share: of the channels, that moves in each of the four directions; below 1/4.
        """
        super().__init__()
        self.moved = int(channels * share)

    def forward(self, images: Images) -> Images:
        """The four groups moved, the last channels as they are."""
        m = self.moved
        if m == 0:
            return images
        sizes = [*[m] * 4, images.shape[1] - 4 * m]
        down, up, right, left, kept = torch.split(images, sizes, dim=1)
        parts = [
            down.roll(1, dims=2),
            up.roll(-1, dims=2),
            right.roll(1, dims=3),
            left.roll(-1, dims=3),
        ]
        return torch.cat([*parts, kept], dim=1)


class L2Pool(nn.Module):
    """Norms over disjoint windows, or over all of the image, which then is gone.

    By the triangle inequality a norm moves no further than what it is taken of.  At 0 the gradient
    is 0.

    Source: Y.-L. Boureau, J. Ponce and Y. LeCun, "A Theoretical Analysis of Feature Pooling in
    Visual Recognition", ICML 2010.
    """

    def __init__(self, window: int | None = None) -> None:
        super().__init__()
        self.window = window

    def forward(self, images: Images) -> Float[Tensor, "batch channels *space"]:
        """One number to each window and channel."""
        windows, inside = _windows(images, self.window)
        norms: Tensor = torch.linalg.vector_norm(windows, dim=inside)
        return norms

    def shipped(self) -> "RootOfSquares":
        """As squares, sums and a root, which runtimes round in a known way."""
        return RootOfSquares(self.window)


class RootOfSquares(nn.Module):
    """`L2Pool` in the form that ships; its gradient at 0 is not a number."""

    def __init__(self, window: int | None) -> None:
        super().__init__()
        self.window = window

    def forward(self, images: Images) -> Float[Tensor, "batch channels *space"]:
        """One number to each window and channel."""
        windows, inside = _windows(images, self.window)
        return torch.sqrt((windows * windows).sum(dim=inside))


class Centring(nn.Module):
    """x less its mean over height and width, channel by channel: an orthogonal projection."""

    def forward(self, images: Images) -> Images:
        """What the mean leaves."""
        return images - images.mean(dim=(2, 3), keepdim=True)


def _windows(images: Images, window: int | None) -> tuple[Tensor, tuple[int, int]]:
    """The image by windows, and the axes within one; what fills no window is left out."""
    if window is None:
        return images, (2, 3)
    batch, channels, *sides = images.shape
    rows, columns = (side // window for side in sides)
    kept = images[:, :, : rows * window, : columns * window]
    return kept.reshape(batch, channels, rows, window, columns, window), (3, 5)
