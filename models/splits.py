"""Examples in order: what training, certificates and attacks are told about the data."""

import hashlib
from dataclasses import dataclass

import numpy as np


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

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.test.images.shape[1:]
        return channels, height, width


def unit_pixels(images: np.ndarray) -> np.ndarray:
    """Images as float32 in [0, 1]; a byte k means the float32 next to k / 255."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return np.asarray(images, dtype=np.float32)
