"""A training part that stays in its files: an epoch reads it once, in an order of the seed's own.

Its order is fixed by the seed, the epoch, the files and the buffer, and by nothing else: chunks in
a random order, as many at a time as the buffer holds, the rows of those shuffled together.  Where
each image is a chunk of its own, that is the order of a part that is held in memory.
"""

import hashlib

import numpy as np

from models.splits import Split, shuffled, unit_pixels
from workers.sources.stored_images import StoredImages

SCANNED = 4096  # rows at a time, in the look at all of them


class StreamedSplit:
    """Some rows of stored images with their labels; see `models.splits.Examples`."""

    def __init__(self, images: StoredImages, labels: np.ndarray, indices: np.ndarray) -> None:
        """Rows of a part, every one of which is read and decoded once.

        Args:
            images: of the whole part.
            labels: `(examples,)`, int64, of the rows that are kept.
            indices: `(examples,)`, int64, those rows, rising.

        Raises:
            DataError: For the first image that cannot be accepted.
        """
        self.stored, self.labels, self.indices = images, labels, indices
        self._digest, self._least, self._largest = self._scan()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.stored.shape[1:]
        return channels, height, width

    def take(self, rows: np.ndarray | slice) -> Split:
        """The examples at `rows`, in that order, in memory."""
        indices = self.indices[rows]
        return Split(self.stored[indices], self.labels[rows], indices)

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Rows in the order of an epoch: no chunk is needed again once another window began."""
        sizes = self.stored.chunk_sizes
        if (sizes == 1).all():
            return shuffled(len(self), seed, epoch)
        random = np.random.default_rng([seed, epoch])
        place = np.full(len(self.stored), -1)  # of each row of the part among the kept ones
        place[self.indices] = np.arange(len(self))
        ordered = []
        for window in self.stored.windows(random.permutation(len(sizes))):
            rows = place[self.stored.rows_of(window)]
            ordered.append(random.permutation(rows[rows >= 0]))
        return np.concatenate(ordered)

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest value of each pixel, in [0, 1]."""
        return self._least, self._largest

    def sha256(self) -> str:
        """That of the same part in memory."""
        return self._digest

    def _scan(self) -> tuple[str, np.ndarray, np.ndarray]:
        digest = hashlib.sha256()
        digest.update(f"|u1{(len(self), *self.stored.shape[1:])}".encode())
        least = np.full(self.stored.shape[1:], 255, dtype=np.uint8)
        largest = np.zeros(self.stored.shape[1:], dtype=np.uint8)
        rows = max(1, min(SCANNED, len(self)))
        for start in range(0, len(self), rows):
            images = self.stored[self.indices[start : start + rows]]
            digest.update(images.tobytes())
            least = np.minimum(least, images.min(axis=0))
            largest = np.maximum(largest, images.max(axis=0))
        for array in (self.labels, self.indices):
            stored = np.ascontiguousarray(array, dtype="<i8")
            digest.update(f"{stored.dtype.str}{stored.shape}".encode())
            digest.update(stored.tobytes())
        return digest.hexdigest(), unit_pixels(least), unit_pixels(largest)
