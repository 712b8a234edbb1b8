"""Two orthogonal 1×1 convolutions with a shift between them: what LipNeXt is made of."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.networks.blank import blank
from models.networks.geometry import Shift
from models.networks.holding import Matrices, hold
from models.networks.orthogonal import polar_factor
from models.networks.views import CentredImage

Images = Float[Tensor, "batch channels height width"]


class ShiftBlock(nn.Module):
    """M Rᵀ Shift(R (x + p)) + b with orthogonal R and M and a position code p.

    Between R and Rᵀ a shift moves directions of the channels that are learned; the code tells
    places apart, which a shift around the edges does not.  M Rᵀ is one matrix.

    Source: LipNeXt, "Scaling up Lipschitz-based Certified Robustness to Billion-parameter Models",
    arXiv:2601.18513.
    """

    def __init__(self, channels: int, *, image: tuple[int, int], shifted: float) -> None:
        super().__init__()
        self.shift = Shift(channels, share=shifted)
        self.position = nn.Parameter(torch.empty(channels, *image))
        self.turn = nn.Parameter(torch.empty(channels, channels))
        self.mixing = nn.Parameter(torch.empty(channels, channels))
        self.bias = nn.Parameter(torch.empty(channels))
        hold(self, "turn")
        hold(self, "mixing")

    @torch.no_grad()
    def start(self, *, generator: torch.Generator) -> None:
        """Random matrices, no position code, no bias."""
        for matrix in (self.turn, self.mixing):
            matrix.copy_(Matrices().random(matrix, generator=generator))
        self.position.zero_()
        self.bias.zero_()

    def forward(self, images: Images) -> Images:
        """The block without its activation."""
        turned = functional.conv2d(images + self.position, self.turn[:, :, None, None])
        back = self.mixing @ self.turn.T
        return functional.conv2d(self.shift(turned), back[:, :, None, None], self.bias)

    @torch.no_grad()
    def shipped(self) -> nn.Sequential:
        """As torch's own layers around the shift."""
        turn, mixing = polar_factor(self.turn), polar_factor(self.mixing)
        layers = [
            pointwise(turn, None),
            self.shift,
            pointwise(mixing @ turn.T, self.bias),
        ]
        return nn.Sequential(CentredImage(-self.position.detach()), *layers)


@torch.no_grad()
def pointwise(matrix: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None) -> nn.Conv2d:
    """A matrix at every pixel, as torch's own layer."""
    out, inputs = matrix.shape
    layer = blank(lambda: nn.Conv2d(inputs, out, 1, bias=bias is not None))
    layer.weight.copy_(matrix[:, :, None, None])
    if layer.bias is not None and bias is not None:
        layer.bias.copy_(bias)
    return layer
