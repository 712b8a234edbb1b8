"""The leading principal axes of a split: where most of the images' energy lies.

Any orthonormal axes are sound; these lose the least.  So they may be found from a part of the
images and by an iteration that stops early.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.splits import Examples

BLOCK_BYTES = 64 * 2**20  # of float32 pixels at a time
LARGEST_COVARIANCE = 2048  # pixels; its eigenvectors take seconds, of 4 times as many minutes
ITERATED_EXAMPLES = 10_000
ITERATED_PIXELS = 2**28  # of those examples together: fewer of large images
OVERSAMPLING = 16
ITERATIONS = 4


def pixel_blocks(split: Examples) -> Iterator[Float[Tensor, "block pixels"]]:
    """The inputs as float32 rows, a block of bounded memory at a time."""
    pixels = math.prod(split.input_shape)
    rows = max(1, BLOCK_BYTES // (4 * pixels))
    for start in range(0, len(split), rows):
        inputs = split.take(slice(start, start + rows)).inputs()
        yield torch.tensor(inputs).flatten(1)  # a copy: aligned, so that sums repeat to the bit


def mean_image(split: Examples) -> Float[Tensor, " pixels"]:
    """Mean of the inputs, in float64."""
    sums = [block.double().sum(dim=0) for block in pixel_blocks(split)]
    return torch.stack(sums).sum(dim=0) / len(split)


def principal_axes(
    split: Examples,
    centre: Float[Tensor, " pixels"],
    *,
    components: int,
    generator: torch.Generator,
) -> Float[Tensor, "components pixels"]:
    """Orthonormal rows that span the leading principal axes, in float64.

    Exact up to 2,048 pixels; beyond, the subspace iteration on at most 10,000 of the examples,
    of images of more than 26,843 pixels on fewer.

    Args:
        split: the training part.
        centre: its mean image.
        components: how many axes, at most the number of pixels.
        generator: draws the examples and the start of the iteration.

    Source: Halko, Martinsson and Tropp, "Finding Structure with Randomness", SIAM Review 53(2),
    2011, arXiv:0909.4061, algorithm 4.4.
    """
    pixels = len(centre)
    if pixels <= LARGEST_COVARIANCE:
        covariance = torch.zeros(pixels, pixels, dtype=torch.float64)
        for block in pixel_blocks(split):
            centred = block - centre.float()
            covariance += centred.T @ centred  # float32 within a block: the axes need no more
        _, vectors = torch.linalg.eigh(covariance)  # eigenvalues in rising order
        leading: Tensor = vectors[:, -components:].T.flip(0).contiguous()
        return leading
    most = max(components, min(ITERATED_EXAMPLES, ITERATED_PIXELS // pixels))
    chosen = torch.randperm(len(split), generator=generator)[:most].sort().values
    sample = split.take(np.asarray(chosen))
    columns = min(pixels, components + OVERSAMPLING)
    basis = torch.randn(pixels, columns, generator=generator)
    for _ in range(ITERATIONS):
        image = torch.zeros_like(basis)
        for block in pixel_blocks(sample):
            centred = block - centre.float()
            image.addmm_(centred.T, centred @ basis)
        basis, _ = torch.linalg.qr(image)
    exact: Tensor = torch.linalg.qr(basis[:, :components].double()).Q.T
    return exact.contiguous()
