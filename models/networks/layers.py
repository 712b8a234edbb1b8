"""The two layers that torch lacks: a fixed orthonormal view of the input, and half of an |·|."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class AbsHalf(nn.Module):
    """|·| on the first half of the features, the identity on the rest; norm preserving.

    As expressive as MaxMin up to a rotation, which the orthogonal matrix before it can learn.
    It has a slope of -1 or 1 everywhere, so a step of the input keeps its length.

    Source: Anil, Lucas and Grosse, "Sorting Out Lipschitz Function Approximation", ICML 2019,
    arXiv:1811.05381, section 4.
    """

    def forward(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        """Fold the first half, rounded up, at 0."""
        folded = folded_features(features.shape[1])
        return torch.cat((features[:, :folded].abs(), features[:, folded:]), dim=1)


def folded_features(width: int) -> int:
    """How many of `width` features an `AbsHalf` folds."""
    return (width + 1) // 2


def as_prelu(width: int) -> nn.PReLU:
    """`AbsHalf` as the one operator that every runtime knows: slopes of -1, then of 1."""
    layer = nn.PReLU(width)
    folded = folded_features(width)
    layer.weight = nn.Parameter(
        torch.cat((-torch.ones(folded), torch.ones(width - folded))), requires_grad=False
    )
    return layer


class CentredAxes(nn.Module):
    """Coordinates of centred inputs along fixed orthonormal axes: a 1-Lipschitz map.

    What the axes leave out costs no radius: the map only gets shorter.  Without axes it is the
    centring alone.
    """

    centre: Tensor
    axes: Tensor | None

    def __init__(
        self, centre: Float[Tensor, " pixels"], axes: Float[Tensor, "components pixels"] | None
    ) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("axes", axes)

    @property
    def components(self) -> int:
        """Coordinates that come out."""
        return len(self.centre) if self.axes is None else len(self.axes)

    def forward(self, pixels: Float[Tensor, "batch pixels"]) -> Float[Tensor, "batch components"]:
        """Centre, then project."""
        centred = pixels - self.centre
        return centred if self.axes is None else centred @ self.axes.T
