"""Residual layers that stretch nothing: x - B φ(A x + b) with B = Aᵀ Λ, and convex mixes.

Features are on axis 1.  A layer of rows has matrices, one of images kernels of odd sides that are
padded with zeros.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.networks.blank import blank
from models.networks.parametrizations.lipschitz import cpl_scale, sll_scales
from models.networks.shipping import shipped

Features = Float[Tensor, "batch features *space"]
Rule = Literal["sll", "cpl"]


class Residual(nn.Module):
    """x - B relu(A x + b) in torch's own layers: the form that ships."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, features: Features) -> Features:
        """What the branch leaves."""
        left: Tensor = features - self.second(torch.relu(self.first(features)))
        return left


class ContractiveResidual(nn.Module):
    """x - Kᵀ diag(s) relu(K x + b), with s such that it is 1-Lipschitz for any K.

    The scales are SLL's, one a hidden feature, or CPL's, one for all.

    Source: Araujo et al., ICLR 2023, arXiv:2303.03169; Meunier et al., ICML 2022,
    arXiv:2110.12690.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        rule: Rule = "sll",
        side: int = 3,
        image: tuple[int, int] | None = None,
    ) -> None:
        """A layer of rows, or of images.

        Args:
            features: in and out.
            hidden: between the two maps.
            rule: which scales.
            side: of an image's kernels, odd.
            image: height and width of the image; None for rows.
        """
        super().__init__()
        self.rule = rule
        self.image = image
        taps = (side, side) if image else ()
        self.kernel = nn.Parameter(torch.empty(hidden, features, *taps))
        self.hidden_bias = nn.Parameter(torch.empty(hidden))
        self.logarithms = nn.Parameter(torch.empty(hidden)) if rule == "sll" else None

    @torch.no_grad()
    def start(self, *, generator: torch.Generator) -> None:
        """Random kernels whose rows have norm 1 on average, and no bias."""
        self.kernel.normal_(std=self.kernel[0].numel() ** -0.5, generator=generator)
        self.hidden_bias.zero_()
        if self.logarithms is not None:
            self.logarithms.zero_()

    def forward(self, features: Features) -> Features:
        """What the branch leaves."""
        K = self.kernel
        if self.image is None:
            hidden = torch.relu(functional.linear(features, K, self.hidden_bias))
            return features - functional.linear(hidden * self._scales(torch.float32), K.T)
        padding = K.shape[-1] // 2
        hidden = torch.relu(functional.conv2d(features, K, self.hidden_bias, padding=padding))
        scaled = hidden * self._scales(torch.float32)[:, None, None]
        return features - functional.conv_transpose2d(scaled, K, padding=padding)

    @torch.no_grad()
    def shipped(self) -> Residual:
        """A = K and B = Kᵀ diag(s), as two layers."""
        scales = self._scales(torch.float64)
        backward = self.kernel.double() * scales.view(-1, *[1] * (self.kernel.dim() - 1))
        return residual(self.kernel, self.hidden_bias, backward)

    def _scales(self, dtype: torch.dtype) -> Float[Tensor, " hidden"]:
        K = self.kernel.to(dtype)
        K = K if K.dim() == 4 else K[:, :, None, None]
        if self.logarithms is not None:
            return sll_scales(K, self.logarithms.to(dtype))
        height, width = self.image or (1, 1)
        grid = (height + K.shape[-2] - 1, width + K.shape[-1] - 1)
        return cpl_scale(K, grid=grid).expand(len(K))


class Mix(nn.Module):
    """(1 - a) x + a g(x) with one learned share a for all features.

    1-Lipschitz where g is.  A share for each feature would not be: it reaches √2.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.logit = nn.Parameter(torch.zeros(()))

    def forward(self, features: Features) -> Features:
        """A point between x and g(x)."""
        share = torch.sigmoid(self.logit)
        mixed: Tensor = (1 - share) * features + share * self.inner(features)
        return mixed

    def shipped(self) -> "FixedMix":
        """With two numbers for the shares."""
        share = float(torch.sigmoid(self.logit.detach().double()))
        return FixedMix(shipped(self.inner), share)


class FixedMix(nn.Module):
    """(1 - a) x + a g(x) with a share that is a number: the form that ships."""

    def __init__(self, inner: nn.Module, share: float) -> None:
        super().__init__()
        self.inner = inner
        self.share = share

    def forward(self, features: Features) -> Features:
        """A point between x and g(x)."""
        mixed: Tensor = (1 - self.share) * features + self.share * self.inner(features)
        return mixed


@torch.no_grad()
def residual(forward: Tensor, bias: Tensor | None, backward: Tensor) -> Residual:
    """The layer x - B relu(A x + b) from A and Bᵀ, both by hidden features, rounded once."""
    hidden, features = forward.shape[:2]
    first: nn.Module
    second: nn.Module
    if forward.dim() == 2:
        first = blank(lambda: nn.Linear(features, hidden, bias=bias is not None))
        second = blank(lambda: nn.Linear(hidden, features, bias=False))
        backward = backward.T
    else:
        side = forward.shape[-1]
        pad = side // 2
        first = blank(lambda: nn.Conv2d(features, hidden, side, padding=pad, bias=bias is not None))
        second = blank(lambda: nn.ConvTranspose2d(hidden, features, side, padding=pad, bias=False))
    first.load_state_dict({"weight": forward} | ({} if bias is None else {"bias": bias}))
    second.load_state_dict({"weight": backward})
    return Residual(first, second)
