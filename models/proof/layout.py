"""From the pixels of an image, channels first, to the order and shape that a file wants.

Entries change places and nothing else, so no distance changes and no radius.
"""

import math
from dataclasses import dataclass

import numpy as np

from models.errors import ModelError

Shape = tuple[int, ...]
CHANNELS_LAST = (1, 2, 0)


@dataclass(frozen=True)
class Layout:
    """What is done to an image before a file reads it; at most one of the two.

    Attributes:
        order: of the axes behind the batch, from 0.
        reshape: the shape of one example.
    """

    order: Shape | None = None
    reshape: Shape | None = None

    @property
    def moves(self) -> bool:
        """Whether it does anything."""
        return (self.order, self.reshape) != (None, None)

    def apply(self, inputs: np.ndarray) -> np.ndarray:
        """Images as the file wants them."""
        if self.order is not None:
            return np.ascontiguousarray(inputs.transpose(0, *(axis + 1 for axis in self.order)))
        return inputs if self.reshape is None else inputs.reshape(len(inputs), *self.reshape)


def layout_of(images: Shape, wanted: Shape) -> Layout:
    """How images of one shape are fed to a file of another.

    Args:
        images: channels, height, width.
        wanted: shape of one example of the file.

    Raises:
        ModelError: If no order of the pixels fits, or more than one could be meant.
    """
    channels, height, width = images
    if wanted == images:
        return Layout()
    if wanted == (height, width, channels):
        return Layout(order=CHANNELS_LAST)
    if channels == 1 and wanted in ((height, width), (height * width,)):
        return Layout(reshape=wanted)
    accepted = f"{list(images)} (channels, height, width), {[height, width, channels]}"
    if channels == 1:
        accepted += f", {[height, width]} or {[height * width]}"
    elif wanted == (math.prod(images),):
        accepted += "; a flat row of several channels could be in two orders, so have the file "
        accepted += "begin with the image and flatten it itself"
    raise ModelError(
        f"found a model of examples of shape {list(wanted)}; accepted for this data is {accepted}"
    )
