"""Layers whose numbers are still to be loaded: nothing is drawn from torch's global generator."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


def blank(make: Callable[[], Layer], *, device: str = "cpu") -> Layer:
    """A layer with memory for its parameters and no values in it.

    Args:
        make: builds it.
        device: where the memory is; `meta` for none at all.
    """
    with torch.device("meta"):
        layer = make()
    return layer.to_empty(device=device)
