"""Activations that stretch nothing: each keeps the length of every small step, or shortens it.

Features are on axis 1, as torch's layers leave them.  `shipped` gives the form that an exported
file holds, where that differs from the form that trains.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from models.errors import CertifyError
from models.networks.residuals import Residual, residual

Features = Float[Tensor, "batch features *space"]


class AbsHalf(nn.Module):
    """|·| on the first half of the features, the identity on the rest; norm preserving.

    As expressive as MaxMin up to a rotation, which the orthogonal matrix before it can learn.
    It has a slope of -1 or 1 everywhere, so a step of the input keeps its length.

    Source: Anil, Lucas and Grosse, "Sorting Out Lipschitz Function Approximation", ICML 2019,
    arXiv:1811.05381, section 4.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, features: Features) -> Features:
        """Fold the first half, rounded up, at 0."""
        result: Tensor = _Fold.apply(features, (self.width + 1) // 2)  # type: ignore[no-untyped-call]
        return result

    def shipped(self) -> nn.PReLU:
        """The one operator that every runtime knows: slopes of -1, then of 1."""
        folded = (self.width + 1) // 2
        return _prelu(torch.cat((-torch.ones(folded), torch.ones(self.width - folded))))


class _Fold(torch.autograd.Function):
    """|·| on the first features; one copy each way, where cutting and joining takes four."""

    @staticmethod
    def forward(ctx: FunctionCtx, features: Features, folded: int) -> Features:
        """A copy whose first features have lost their signs."""
        result = features.clone()
        first = result[:, :folded]
        ctx.save_for_backward(first.sign())
        first.abs_()
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Features) -> tuple[Features, None]:
        """The signs put back."""
        (signs,) = ctx.saved_tensors
        result = gradient.clone()
        result[:, : signs.shape[1]].mul_(signs)
        return result, None


class MaxMin(nn.Module):
    """The larger and the smaller of feature i and feature i + half: a sort of pairs.

    Source: Anil, Lucas and Grosse, ICML 2019, arXiv:1811.05381.
    """

    def forward(self, features: Features) -> Features:
        """All the larger ones, then all the smaller ones."""
        first, second = features.chunk(2, dim=1)
        return torch.cat((torch.maximum(first, second), torch.minimum(first, second)), dim=1)


class GroupSort(nn.Module):
    """Each run of `size` neighbouring features in rising order; a permutation, whatever they are.

    With all features in one group it is FullSort.

    Source: Anil, Lucas and Grosse, ICML 2019, arXiv:1811.05381.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, features: Features) -> Features:
        """Sort every group; the number of features is a multiple of its size."""
        batch, width, *space = features.shape
        grouped = features.reshape(batch, width // self.size, self.size, *space)
        return grouped.sort(dim=2).values.flatten(1, 2)


def full_sort(width: int) -> GroupSort:
    """All features in rising order."""
    return GroupSort(width)


class Householder(nn.Module):
    """Feature i and feature i + half, reflected at a learned line where they are beyond it.

    z + 2 v relu(-vᵀz) with ‖v‖ = 1: the identity on one side, I - 2 v vᵀ on the other, equal on
    the line.  It begins as MaxMin, the reflection at the diagonal.

    Source: Singla, Singla and Feizi, "Improved Deterministic L2 Robustness on CIFAR-10 and
    CIFAR-100", ICLR 2022, arXiv:2108.04062.
    """

    def __init__(self, width: int, *, images: bool = True) -> None:
        super().__init__()
        if width % 2:
            raise CertifyError(f"Householder takes pairs, found {width} features; accepted is even")
        self.images = images
        self.angles = nn.Parameter(torch.full((width // 2,), math.pi / 2))

    def forward(self, features: Features) -> Features:
        """Reflect what lies beyond the line at half the angle."""
        first, second = features.chunk(2, dim=1)
        a, b = (line.view(-1, *[1] * (features.dim() - 2)) for line in self._normals())
        beyond = 2 * torch.relu(-(a * first + b * second))
        return torch.cat((first + a * beyond, second + b * beyond), dim=1)

    def shipped(self) -> Residual:
        """As x - B relu(A x) with A = -vᵀ and B = 2 Aᵀ."""
        a, b = self._normals()
        A = -torch.cat((a.diag(), b.diag()), dim=1)
        A = A[:, :, None, None] if self.images else A
        return residual(A, None, 2 * A)

    def _normals(self) -> tuple[Tensor, Tensor]:
        return torch.sin(self.angles / 2), -torch.cos(self.angles / 2)


class BoundedPReLU(nn.Module):
    """A learned slope below 0 for each feature: the sine of a free number.

    Cut off at -1 and 1 instead, a slope that is beyond them would have no gradient left.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.angles = nn.Parameter(torch.zeros(width))

    def forward(self, features: Features) -> Features:
        """Each feature, times its slope where it is negative."""
        return nn.functional.prelu(features, torch.sin(self.angles))

    def shipped(self) -> nn.PReLU:
        """With the slopes as numbers."""
        return _prelu(torch.sin(self.angles))


def _prelu(slopes: Float[Tensor, " width"]) -> nn.PReLU:
    layer = nn.PReLU(len(slopes))
    layer.weight = nn.Parameter(slopes.detach().clone().float(), requires_grad=False)
    return layer
