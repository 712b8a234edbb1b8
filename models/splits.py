"""Examples in order: what training, certificates and attacks are told about the data."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from models.errors import JobError


@runtime_checkable
class Examples(Protocol):
    """Labelled images in a fixed order, in memory or not: what training reads."""

    def __len__(self) -> int: ...

    @property
    def labels(self) -> np.ndarray:
        """Classes from 0, `(examples,)`, int64."""

    @property
    def indices(self) -> np.ndarray:
        """The place of each example in its source, `(examples,)`, int64."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""

    def take(self, rows: np.ndarray | slice) -> "Split":
        """The examples at `rows`, in that order, in memory."""

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """All rows in the order in which an epoch reads them; it depends on nothing else."""

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest value of each pixel, in [0, 1]."""

    def sha256(self) -> str:
        """Hash of pixels, labels and order."""


@dataclass(frozen=True)
class Split:
    """Labelled images in a fixed order.

    Attributes:
        images: `(examples, channels, height, width)`; uint8 from 0 to 255, or float32 in [0, 1].
        labels: `(examples,)`, int64, classes from 0.
        indices: `(examples,)`, int64, the place of each example in its source.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """All rows in the order in which an epoch reads them."""
        return shuffled(len(self), seed, epoch)

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest value of each pixel, in [0, 1]."""
        return unit_pixels(self.images.min(axis=0)), unit_pixels(self.images.max(axis=0))

    def take(self, rows: np.ndarray | slice) -> "Split":
        """The examples at `rows`, in that order."""
        return Split(self.images[rows], self.labels[rows], self.indices[rows])

    def inputs(self) -> np.ndarray:
        """The images as float32 in [0, 1]: the very tensor that is certified and attacked."""
        return unit_pixels(self.images)

    def sha256(self) -> str:
        """Hash of pixels, labels and order, independent of how the source stored them."""
        digest = hashlib.sha256()
        for array, kind in ((self.images, None), (self.labels, "<i8"), (self.indices, "<i8")):
            stored = np.ascontiguousarray(array, dtype=kind)
            digest.update(f"{stored.dtype.str}{stored.shape}".encode())
            digest.update(stored.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """Three parts that share no example, and the names of the classes."""

    train: Examples
    validation: Split
    test: Split
    classes: tuple[str, ...]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.test.input_shape


def refuse_unreachable(dataset: Dataset, eps: Iterable[float]) -> None:
    """Refuse a budget at which images of two classes cannot both be certified.

    No two images are further apart than the corner-to-corner distance d of the box that holds
    them all.  Were two of different classes certified beyond d / 2, the point in their middle
    would lie in both balls and have both classes.

    Raises:
        JobError: With the budget and the largest that is accepted.
    """
    parts: list[Examples] = [dataset.train, dataset.validation, dataset.test]
    least, largest = zip(*(part.extremes() for part in parts), strict=True)
    ranges = np.max(largest, axis=0) - np.min(least, axis=0)
    half = float(np.linalg.norm(ranges.astype(np.float64))) / 2
    for budget in eps:
        if budget >= half:
            raise JobError(
                f"ε = {budget:g} is beyond any radius: images of this data differ by at most "
                f"{2 * half:.4g}, and two of different classes cannot both be certified beyond "
                f"half of that; accepted is less than {half:.4g}"
            )


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """The numbers below `count` in an order of the seed's and the epoch's own."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def unit_pixels(images: np.ndarray) -> np.ndarray:
    """Images as float32 in [0, 1]; a byte k means the float32 next to k / 255."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return np.asarray(images, dtype=np.float32)
