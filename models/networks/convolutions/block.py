"""Exactly orthogonal convolutions with any kernel, stride, groups and dilation.

For an orthogonal projector P the kernel of two taps [P, I - P] is orthogonal: at frequency ω it is
P + e^{iω} (I - P), which is unitary.  Products of such kernels along both axes, then a reshaped
kernel whose side is its stride and whose matrix is orthogonal, give one orthogonal kernel with
side taps, as convolving is associative.

Around the edges such a convolution keeps lengths, or its adjoint does; padded with zeros it is a
part of that, and stretches nothing.

Source: Li et al., "Preventing Gradient Attenuation in Lipschitz Constrained Convolutional
Networks", NeurIPS 2019, arXiv:1911.00937 (BCOP); Boissin et al., "An Adaptive Orthogonal
Convolution Scheme for Efficient and Flexible CNN Architectures", ICML 2025, arXiv:2501.07930
(strides, groups, dilation).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.errors import CertifyError
from models.networks.blank import blank
from models.networks.holding import hold
from models.networks.orthogonal import polar_factor, random_orthogonal

Kernel = Float[Tensor, "groups out in kh kw"]


class BlockConvolution(nn.Module):
    """A convolution whose kernel is a product of orthogonal factors, held as plain matrices.

    Attributes:
        entrance: matrices into the width of the projectors, by group, where that is larger.
        spans: orthonormal bases of what the projectors keep: groups, taps beyond the stride, axes.
        reshaped: matrices of the kernel whose side is the stride, by group.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        side: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        """A layer whose numbers are still to be loaded or started.

        Raises:
            CertifyError: If no orthogonal kernel has this form.
        """
        super().__init__()
        if channels % groups or outputs % groups:
            raise CertifyError(
                f"{channels} channels to {outputs} in {groups} groups; accepted are multiples of it"
            )
        if side < stride or math.gcd(stride, dilation) > 1:
            raise CertifyError(
                f"a kernel of side {side} with stride {stride} and dilation {dilation} never reads "
                f"some pixels; accepted are a side of at least the stride, and a stride and a "
                f"dilation that share no divisor"
            )
        self.side = side
        self.stride, self.padding = stride, padding
        self.dilation, self.groups = dilation, groups
        inside, outside = channels // groups, outputs // groups
        width = max(inside, outside // stride**2)
        pairs = side - stride
        self.reshaped = nn.Parameter(torch.empty(groups, outside, width * stride**2))
        self.spans = nn.Parameter(torch.empty(groups, pairs, 2, width, (width + 1) // 2))
        self.entrance = None
        if width > inside:
            self.entrance = nn.Parameter(torch.empty(groups, width, inside))
        self.bias = nn.Parameter(torch.empty(outputs))
        for name, factor in self.factors().items():
            if factor.numel():
                hold(self, name)

    def factors(self) -> dict[str, nn.Parameter]:
        """The held matrices, by name."""
        names = ("reshaped", "spans", "entrance")
        return {name: factor for name, factor in self.named_parameters() if name in names}

    @torch.no_grad()
    def start(self, *, generator: torch.Generator) -> None:
        """Random orthogonal factors, and no bias."""
        for factor in self.factors().values():
            rows, columns = factor.shape[-2:]
            for matrix in factor.view(-1, rows, columns):
                matrix.copy_(random_orthogonal(rows, columns, generator=generator))
        self.bias.zero_()

    def kernel(self) -> Float[Tensor, "out in kh kw"]:
        """The kernel as torch's convolutions take it."""
        return block_kernel(**self.factors(), stride=self.stride)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch outputs rows columns"]:
        """The convolution."""
        return functional.conv2d(
            images,
            self.kernel(),
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    @torch.no_grad()
    def shipped(self) -> nn.Conv2d:
        """Torch's own layer, its kernel from exact factors."""
        factors = {name: polar_factor(factor) for name, factor in self.factors().items()}
        kernel = block_kernel(**factors, stride=self.stride)
        layer = blank(
            lambda: nn.Conv2d(
                kernel.shape[1] * self.groups,
                kernel.shape[0],
                self.side,
                stride=self.stride,
                padding=self.padding,
                dilation=self.dilation,
                groups=self.groups,
            )
        )
        layer.load_state_dict({"weight": kernel, "bias": self.bias})
        return layer


def block_kernel(
    *,
    reshaped: Float[Tensor, "groups out rows"],
    spans: Float[Tensor, "groups pairs 2 width half"],
    entrance: Float[Tensor, "groups width in"] | None = None,
    stride: int,
) -> Float[Tensor, "outputs in side side"]:
    """The kernel of all factors; orthogonal where each factor is.  The entrance comes first."""
    width = spans.shape[3]
    taps = reshaped.reshape(*reshaped.shape[:2], width, stride, stride).permute(0, 3, 4, 1, 2)
    for pair in spans.unbind(dim=1):
        along, across = pair.unbind(dim=1)
        taps = behind_two_taps(behind_two_taps(taps, along, axis=1), across, axis=2)
    if entrance is not None:
        taps = taps @ entrance[:, None, None]
    return taps.permute(0, 3, 4, 1, 2).flatten(0, 1)


def behind_two_taps(
    taps: Float[Tensor, "groups kh kw out width"],
    span: Float[Tensor, "groups width half"],
    *,
    axis: int,
) -> Float[Tensor, "groups longer wider out width"]:
    """The kernel that does [P, I - P] along an axis first, P = SSᵀ, and then what another does.

    What that one's taps take of P they take where they are, the rest one place further on.
    """
    S = span[:, None, None]
    kept = taps @ S @ S.mT
    none = torch.zeros_like(kept.narrow(axis, 0, 1))
    return torch.cat((kept, none), dim=axis) + torch.cat((none, taps - kept), dim=axis)


def random_block_kernel(
    channels: int, outputs: int, *, side: int, generator: torch.Generator
) -> Float[Tensor, "outputs channels side side"]:
    """A random orthogonal kernel for stride 1, in float64."""
    layer = BlockConvolution(channels, outputs, side=side)
    layer.start(generator=generator)
    return layer.shipped().weight.detach().double()
