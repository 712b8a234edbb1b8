"""Steps between images: how long they are, which way they point, and a value spread over each."""

from torch import Tensor

TINY = 1e-30
"""Divides nothing by nothing to nothing."""


def spread(values: Tensor, images: Tensor) -> Tensor:
    """A value for each example, as wide as the images."""
    return values.view(-1, *[1] * (images.dim() - 1))


def lengths(steps: Tensor) -> Tensor:
    """L2 length of each step, as wide as the steps."""
    return spread(steps.flatten(1).norm(dim=1), steps)


def unit(steps: Tensor) -> Tensor:
    """Steps of length 1; one without a direction stays 0."""
    return steps / lengths(steps).clamp_min(TINY)
