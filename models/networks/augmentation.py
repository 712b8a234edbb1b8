"""Training images varied as tensors, a batch at a time: moved, mirrored, cut, turned, lightened.

Noise comes last.  Its norm is many times a certified radius, but it points nowhere: a network that
keeps its classes under it has fitted less of what is peculiar to single images.

Every number is drawn from the generator on the processor, in one order, so a batch is varied alike
on every machine.  What comes in from outside an image is black.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from models.train_spec import AugmentSpec

Images = Float[Tensor, "batch channels height width"]

KINDS = ("move-x", "move-y", "turn", "shear-x", "shear-y", "zoom", "brightness", "contrast")
FARTHEST = 0.3  # of the side, that the strongest move goes
STEEPEST = 0.3  # pixels a pixel, of the strongest shear
WIDEST = math.pi / 6  # the strongest turn
LARGEST = 1.3  # the strongest zoom, and its inverse
LIGHTEST = 0.5  # the strongest change of brightness
STARKEST = 0.9  # the strongest change of contrast


def augmented(images: Images, spec: AugmentSpec, *, generator: torch.Generator) -> Images:
    """Images as training sees them this time.

    Args:
        images: a batch in [0, 1].
        spec: what is varied, and how far.
        generator: of the processor; it decides everything.

    Returns:
        Images of the same shape, in [0, 1] unless noise is asked for; `images` itself where
        nothing is.

    Source: of the noise, Bishop, "Training with Noise is Equivalent to Tikhonov Regularization",
    Neural Computation 7(1), 1995.
    """
    if spec.operations and spec.magnitude:
        images = _randomly_changed(images, spec, generator=generator)
    if spec.flip:
        mirrored = _chosen(images, 0.5, generator=generator)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    if spec.shift:
        images = _shifted(images, spec.shift, generator=generator)
    if spec.cutout:
        images = images * ~_squares(images, spec.cutout, generator=generator)[:, None]
    if spec.noise:
        drawn = torch.randn(images.shape, generator=generator)
        images = images + spec.noise * drawn.to(images.device)
    return images


def _shifted(images: Images, most: int, *, generator: torch.Generator) -> Images:
    """Each image moved by up to `most` whole pixels along each axis: a crop of a padded one."""
    batch, _, height, width = images.shape
    padded = functional.pad(images, (most, most, most, most))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: nothing is copied
    places = torch.randint(2 * most + 1, (2, batch), generator=generator).to(images.device)
    every = torch.arange(batch, device=images.device)
    crops: Tensor = windows[every, :, places[0], places[1]]
    return crops


def _squares(
    images: Images, side: int, *, generator: torch.Generator
) -> Bool[Tensor, "batch height width"]:
    """Where a square lies whose middle is any pixel.

    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with
    Cutout", 2017, arXiv:1708.04552.
    """
    inside = []
    for length in images.shape[2:]:
        middle = torch.randint(length, (len(images), 1), generator=generator).to(images.device)
        away = torch.arange(length, device=images.device) - middle + side // 2
        inside.append((away >= 0) & (away < side))
    return inside[0][:, :, None] & inside[1][:, None, :]


def _randomly_changed(images: Images, spec: AugmentSpec, *, generator: torch.Generator) -> Images:
    """Some images after a few changes, drawn for each by itself: one resampling for all of them.

    Changes of place compose to one affine map and changes of tone to one line, so their number
    costs nothing.

    Source: Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search
    Space", NeurIPS 2020, arXiv:1909.13719; the list of changes is our own.
    """
    rows = _chosen(images, spec.probability, generator=generator).nonzero()[:, 0]
    if len(rows) == 0:
        return images
    chosen = images[rows]
    place = torch.eye(3).repeat(len(rows), 1, 1)
    mean = chosen.mean(dim=(1, 2, 3)).cpu()
    gain, lift = torch.ones(len(rows)), torch.zeros(len(rows))
    for _ in range(spec.operations):
        kind = torch.randint(len(KINDS), (len(rows),), generator=generator)
        strength = spec.magnitude * (2 * torch.rand(len(rows), generator=generator) - 1)
        by = {name: strength * (kind == number) for number, name in enumerate(KINDS)}
        place = place @ _affine(by)
        light, stark = 1 + LIGHTEST * by["brightness"], 1 + STARKEST * by["contrast"]
        gain, lift = gain * light, lift * light
        gain, lift = gain * stark, lift * stark + (1 - stark) * (gain * mean + lift)
    tone = torch.stack((gain, lift))[:, :, None, None, None].to(images.device)
    toned = (_resampled(chosen, place.to(images.device)) * tone[0] + tone[1]).clamp(0, 1)
    return images.index_copy(0, rows, toned)


def _affine(by: dict[str, Float[Tensor, " batch"]]) -> Float[Tensor, "batch 3 3"]:
    """Where each image takes its pixels from; all entries of `by` but one are 0 for an image."""
    turn, zoom = WIDEST * by["turn"], LARGEST ** by["zoom"]
    across, along = zoom * turn.cos(), zoom * turn.sin()
    zero, one = torch.zeros_like(turn), torch.ones_like(turn)
    rows = (
        (across, STEEPEST * by["shear-x"] - along, 2 * FARTHEST * by["move-x"]),
        (STEEPEST * by["shear-y"] + along, across, 2 * FARTHEST * by["move-y"]),
        (zero, zero, one),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _resampled(images: Images, place: Float[Tensor, "batch 3 3"]) -> Images:
    """Each image at the places that an affine map of [-1, 1]² says, between pixels bilinearly."""
    height, width = images.shape[2:]
    stretch = torch.tensor([[1.0, height / width], [width / height, 1.0]], device=images.device)
    turned = place[:, :2, :2] * stretch  # a turn keeps lengths in pixels, and [-1, 1]² is a square
    down, right = (
        (2 * torch.arange(side, device=images.device) + 1) / side - 1 for side in (height, width)
    )
    along, across, moved = turned[:, :, 1], turned[:, :, 0], place[:, :2, 2]
    from_row = along[:, :, None] * down + moved[:, :, None]
    from_column = across[:, :, None] * right
    grid = from_row[:, :, :, None] + from_column[:, :, None, :]
    return functional.grid_sample(images, grid.permute(0, 2, 3, 1), align_corners=False)


def _chosen(images: Images, share: float, *, generator: torch.Generator) -> Bool[Tensor, " batch"]:
    """A coin for each image."""
    return (torch.rand(len(images), generator=generator) < share).to(images.device)
