"""Images that stay in their files: some are read when they are asked for, and few are held.

The files are read in chunks: a row group of a Parquet file, or one image of a folder.  A chunk that
was read stays until room is needed, and the one that was read first goes first; so whoever asks for
rows chunk by chunk has each chunk read once.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from models.errors import DataError


class ChunkReader(Protocol):
    """What reads some chunks of a part."""

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each chunk, int64."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""

    def place(self, chunk: int) -> str:
        """Where a chunk lies, for messages."""

    def read(self, chunks: Sequence[int]) -> list[np.ndarray]:
        """Images of some chunks, uint8, `(rows, channels, height, width)` each.

        Raises:
            DataError: For the first image that cannot be accepted.
        """


class StoredImages:
    """An array of images, uint8, of which at most `buffer` are held between two requests.

    Attributes:
        shape: `(examples, channels, height, width)`.
        most_held: the most rows that were held at any time, beside those that were asked for.
        reads: chunks that were read so far.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, reader: ChunkReader, *, buffer: int) -> None:
        """Images behind a reader.

        Raises:
            DataError: For a chunk that is larger than the buffer.
        """
        sizes = reader.sizes
        if len(sizes) and sizes.max() > buffer:
            chunk = int(np.argmax(sizes > buffer))
            raise DataError(
                f"{reader.place(chunk)}: found {sizes[chunk]} rows in one piece; accepted are at "
                f"most data.buffer, {buffer}: set it higher, or write the file with smaller row "
                "groups"
            )
        self._reader, self._buffer = reader, buffer
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self.shape = (int(self._starts[-1]), *reader.image_shape)
        self._held: dict[int, np.ndarray] = {}
        self.most_held = self.reads = self._count = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """The images of some rows, in that order, in an array of their own."""
        wanted = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        chunks = np.searchsorted(self._starts, wanted, side="right") - 1
        images = np.empty((len(wanted), *self.shape[1:]), dtype=np.uint8)
        needed = list(dict.fromkeys(chunks.tolist()))
        for chunk in [chunk for chunk in needed if chunk in self._held]:
            self._fill(images, wanted, chunks, chunk)  # before it may have to go
        for some in self._portions([chunk for chunk in needed if chunk not in self._held]):
            self._load(some)
            for chunk in some:
                self._fill(images, wanted, chunks, chunk)
        return images

    def __getstate__(self) -> dict[str, object]:
        """All but what is held: a worker reads for itself."""
        return {**self.__dict__, "_held": {}, "_count": 0, "most_held": 0, "reads": 0}

    @property
    def chunk_sizes(self) -> np.ndarray:
        """Rows of each chunk, int64."""
        return np.diff(self._starts)

    def windows(self, chunks: np.ndarray) -> Iterator[np.ndarray]:
        """Chunks in their order, in runs that can be held together."""
        run: list[int] = []
        rows, sizes = 0, self.chunk_sizes
        for chunk in chunks.tolist():
            if rows + sizes[chunk] > self._buffer:
                yield np.array(run)
                run, rows = [], 0
            run.append(chunk)
            rows += sizes[chunk]
        if run:
            yield np.array(run)

    def rows_of(self, chunks: np.ndarray) -> np.ndarray:
        """All rows of some chunks, one chunk after the other."""
        ranges = [np.arange(self._starts[chunk], self._starts[chunk + 1]) for chunk in chunks]
        return np.concatenate([np.arange(0), *ranges])

    def _fill(self, images: np.ndarray, wanted: np.ndarray, chunks: np.ndarray, chunk: int) -> None:
        here = chunks == chunk
        images[here] = self._held[chunk][wanted[here] - self._starts[chunk]]

    def _portions(self, chunks: list[int]) -> Iterator[list[int]]:
        """Chunks that are not held, in portions that fit the buffer."""
        for run in self.windows(np.array(chunks, dtype=np.int64)):
            yield run.tolist()

    def _load(self, chunks: list[int]) -> None:
        """Read some chunks that fit the buffer together, after as many old ones have gone."""
        rows = int(self.chunk_sizes[chunks].sum())
        while self._count + rows > self._buffer:
            oldest = next(iter(self._held))
            self._count -= len(self._held.pop(oldest))
        for chunk, images in zip(chunks, self._reader.read(chunks), strict=True):
            self._held[chunk] = images
        self._count += rows
        self.reads += len(chunks)
        self.most_held = max(self.most_held, self._count)
