"""Fixed views of the input, made from the data: what a network sees instead of the pixels."""

from jaxtyping import Float
from torch import Tensor, nn


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

    def forward(self, images: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch components"]:
        """Flatten and centre, then project."""
        centred = images.flatten(1) - self.centre
        return centred if self.axes is None else centred @ self.axes.T


class CentredImage(nn.Module):
    """Images less the mean image, as images."""

    centre: Tensor

    def __init__(self, centre: Float[Tensor, "channels height width"]) -> None:
        super().__init__()
        self.register_buffer("centre", centre)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Centre."""
        return images - self.centre
