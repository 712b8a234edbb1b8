"""What a dataset can be certified for at all."""

import math

import numpy as np
import pytest

from models.errors import JobError
from models.splits import Dataset, Split, refuse_unreachable


def a_part(images):
    return Split(images, np.arange(len(images)) % 2, np.arange(len(images)))


def a_dataset(dtype):
    """Two pixels: one that is 0 or 0.6 by the part, one that is always 0.8."""
    parts = []
    for first in (0, 0, 153):
        images = np.full((2, 1, 1, 2), 204, dtype=np.uint8)
        images[:, 0, 0, 0] = first
        as_stored = images if dtype == np.uint8 else images.astype(dtype) / np.float32(255)
        parts.append(a_part(as_stored))
    return Dataset(*parts, classes=("a", "b"))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_half_of_the_widest_distance_is_the_limit(dtype):
    half = float(np.float32(0.6)) / 2
    refuse_unreachable(a_dataset(dtype), [0.1, 0.999 * half])
    for eps in (half * 1.0001, math.inf):
        with pytest.raises(JobError, match=f"ε = {eps:g} is beyond any radius.*less than 0.3$"):
            refuse_unreachable(a_dataset(dtype), [0.1, eps])


def test_images_that_are_all_alike_can_be_certified_for_nothing():
    images = np.full((2, 1, 2, 2), 0.5, dtype=np.float32)
    alike = Dataset(a_part(images), a_part(images), a_part(images), ("a", "b"))
    with pytest.raises(JobError, match="differ by at most 0"):
        refuse_unreachable(alike, [1e-9])
