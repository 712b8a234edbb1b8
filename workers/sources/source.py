"""What every source of images gives, and the refusals that all of them share.

A source is read into parts: `train` always, `validation` and `test` where the source has them.
Pixels are bytes from 0 to 255 or floats from 0 to 1; anything else is refused with the file and the
index, because a certificate for radius 0.5 means nothing once the scale of a pixel is a guess.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import DataError
from workers.sources.stored_images import StoredImages

MOST_BYTES = 16 * 2**30  # of one array: a data set is held in memory whole


@dataclass(frozen=True)
class Part:
    """Labelled images of one part, in the order of the source.

    Attributes:
        images: `(examples, channels, height, width)`, uint8, or float32 in [0, 1]; those of a
            training part may stay in their files.
        labels: `(examples,)`, int64.
        files: where the labels stand and how many there are, file by file, for error messages.
    """

    images: np.ndarray | StoredImages
    labels: np.ndarray
    files: Sequence[tuple[str, int]]

    def place(self, row: int) -> str:
        """File and index of an example, as a user can look it up."""
        for name, count in self.files:
            if row < count:
                return f"{name}[{row}]"
            row -= count
        raise IndexError(f"row {row} past the end")


@dataclass(frozen=True)
class Source:
    """Parts by name, and the names of the classes where the source has them."""

    parts: Mapping[str, Part]
    classes: tuple[str, ...] | None


def existing_file(path: Path) -> Path:
    """The path itself, once it is known to be a file."""
    if is_folder(path):
        raise DataError(f"{path}: found a folder; accepted is a file")
    return path


def existing_folder(path: Path) -> Path:
    """The path itself, once it is known to be a folder."""
    if not is_folder(path):
        raise DataError(f"{path}: found a file; accepted is a folder")
    return path


def is_folder(path: Path) -> bool:
    """Whether an existing path is a folder rather than a file; nothing else is accepted."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise DataError(f"{path}: found nothing there; accepted is an existing path") from None
    except OSError as fault:
        raise unreadable(path, fault) from None
    if not path.is_dir() and not path.is_file():
        raise DataError(f"{path}: found neither a file nor a folder")
    return path.is_dir()


def unreadable(path: Path | str, fault: Exception) -> DataError:
    """The error for a file that the system or its decoder gives up on, in one line."""
    reason = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
    return DataError(f"{path}: cannot be read: {' '.join(reason.split())}")


def accepted_pixels(pixels: np.ndarray, *, where: str) -> np.ndarray:
    """Pixels as uint8, or as float32 in [0, 1]; float16 and float64 are cast to float32.

    Args:
        pixels: an array of any shape, as it is stored.
        where: file and array, for the message.

    Raises:
        DataError: For another kind of number, NaN, or a value outside [0, 1].
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f" or pixels.dtype.itemsize > 8:
        raise DataError(
            f"{where}: found pixels of type {pixels.dtype}; "
            "accepted are uint8 from 0 to 255 or floats from 0 to 1"
        )
    with np.errstate(invalid="ignore"):
        lowest, highest = pixels.min(initial=0), pixels.max(initial=0)
        if not (lowest >= 0 and highest <= 1):
            raise _outside(pixels, where=where, highest=float(highest))
    return pixels.astype(np.float32, copy=False)


def _outside(pixels: np.ndarray, *, where: str, highest: float) -> DataError:
    inside = (pixels >= 0) & (pixels <= 1)
    first = np.unravel_index(int(np.argmin(inside)), pixels.shape)
    index = ", ".join(str(int(i)) for i in first)
    hint = "; divide by 255, or store bytes as uint8" if 1 < highest <= 255 else ""
    return DataError(
        f"{where}[{index}]: found the pixel {float(pixels[first])!r}; "
        f"accepted are pixels from 0 to 1{hint}"
    )


def accepted_labels(labels: np.ndarray, *, where: str, first: int = 0) -> np.ndarray:
    """Labels as int64 of shape `(examples,)`, from integers of shape (N,) or (N, 1).

    Args:
        labels: as they are stored.
        where: file and array or column, for the message.
        first: index of the first label, where these are a piece of the column.

    Raises:
        DataError: For another type or shape, or a negative label.
    """
    if labels.dtype.kind not in "iu":
        raise DataError(f"{where}: found labels of type {labels.dtype}; accepted are integers")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"{where}: found labels of shape {labels.shape}; accepted are (N,) and (N, 1)"
        )
    wrong = (labels < 0) | (labels > np.iinfo(np.int64).max)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{where}[{first + row}]: found the label {labels[row]}; "
            "accepted are classes counted from 0"
        )
    return labels.astype(np.int64)


def accepted_names(names: Sequence[object], *, where: str) -> tuple[str, ...]:
    """Names of the classes, in the order of their labels; each is a text of its own.

    Raises:
        DataError: For a name that is no text, is empty, cannot be printed, or comes twice.
    """
    accepted: dict[str, None] = {}
    for name in names:
        if not (isinstance(name, str) and name.strip() and name.isprintable()):
            raise DataError(f"{where}: found the class name {name!r}; accepted are printable texts")
        if name in accepted:
            raise DataError(f"{where}: found the class name {name!r} twice; accepted is once")
        accepted[name] = None
    return tuple(accepted)
