"""A convolution around the edges that is orthogonal because it is so at every frequency.

Source: Trockman and Kolter, "Orthogonalizing Convolutional Layers with the Cayley Transform",
ICLR 2021, arXiv:2104.07167.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from models.networks.parametrizations.lipschitz import responses
from models.networks.parametrizations.orthogonal import cayley

Images = Float[Tensor, "batch channels height width"]


class CayleyConvolution(nn.Module):
    """The Cayley transform of a small kernel's response, frequency by frequency.

    The kernel that comes of it covers the whole image, so that it suits small images.
    """

    def __init__(self, channels: int, outputs: int, *, side: int, image: tuple[int, int]) -> None:
        super().__init__()
        self.image = image
        self.free = nn.Parameter(torch.empty(outputs, channels, side, side))
        self.bias = nn.Parameter(torch.empty(outputs))

    @torch.no_grad()
    def start(self, *, generator: torch.Generator) -> None:
        """A free kernel of entries such as torch gives them, and no bias."""
        self.free.normal_(std=self.free[0].numel() ** -0.5, generator=generator)
        self.bias.zero_()

    def forward(self, images: Images) -> Float[Tensor, "batch out height width"]:
        """The convolution, by way of the frequencies."""
        spectrum = torch.fft.rfft2(images).flatten(2).permute(2, 1, 0)
        turned = (self._responses(self.free) @ spectrum).permute(2, 1, 0)
        shape = (self.image[0], self.image[1] // 2 + 1)
        moved: Tensor = torch.fft.irfft2(turned.reshape(*turned.shape[:2], *shape), s=self.image)
        return moved + self.bias[:, None, None]

    @torch.no_grad()
    def shipped(self) -> "CircularConvolution":
        """A kernel as large as the image, over the image continued around its edges."""
        shape = (self.image[0], self.image[1] // 2 + 1)
        turned = self._responses(self.free.double()).permute(1, 2, 0)
        kernel = torch.fft.irfft2(turned.reshape(*turned.shape[:2], *shape), s=self.image)
        backwards = kernel.flip(2, 3).roll((1, 1), dims=(2, 3))  # torch correlates
        return CircularConvolution(backwards.float(), self.bias.detach().clone())

    def _responses(self, free: Tensor) -> Complex[Tensor, "frequencies out in"]:
        return cayley(responses(free, grid=self.image))


class CircularConvolution(nn.Module):
    """A convolution of the image continued to the right and below: the form that ships."""

    def __init__(self, kernel: Float[Tensor, "out in kh kw"], bias: Float[Tensor, " out"]) -> None:
        super().__init__()
        self.weight = nn.Parameter(kernel, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, images: Images) -> Float[Tensor, "batch out height width"]:
        """As many pixels as came in."""
        below, right = (side - 1 for side in self.weight.shape[2:])
        continued = functional.pad(images, (0, right, 0, below), mode="circular")
        return functional.conv2d(continued, self.weight, self.bias)
