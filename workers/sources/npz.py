"""NumPy's `.npz` with the array names that Keras and MedMNIST use, or one part to be cut.

Pickled objects are never loaded: they would run code of whoever wrote the file.
"""

import zipfile
from pathlib import Path

import numpy as np

from models.errors import DataError
from workers.sources.source import (
    MOST_BYTES,
    Part,
    Source,
    accepted_labels,
    accepted_names,
    accepted_pixels,
    existing_file,
    unreadable,
)

NAMINGS = (  # of images and labels, part by part
    {
        "train": ("x_train", "y_train"),
        "validation": ("x_val", "y_val"),
        "test": ("x_test", "y_test"),
    },
    {
        "train": ("train_images", "train_labels"),
        "validation": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
    {"train": ("images", "labels")},
)
CLASSES = "classes"
CHANNELS = (1, 3)


def read_npz(path: Path) -> Source:
    """The parts of an `.npz` file, with the names of its classes where it has `classes`.

    Raises:
        DataError: For names that fit no naming or several, objects, and arrays that are no images.
    """
    arrays = _read_arrays(existing_file(path))
    names = arrays.pop(CLASSES, None)
    naming = _naming(set(arrays), path=path)
    parts = {}
    for part, (images_name, labels_name) in naming.items():
        if images_name in arrays:
            images = accepted_images(arrays[images_name], where=f"{path}: {images_name}")
            where = f"{path}: {labels_name}"
            labels = accepted_labels(arrays[labels_name], where=where)
            parts[part] = Part(images, labels, [(where, len(labels))])
    if names is None:
        return Source(parts, None)
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(
            f"{path}: {CLASSES}: found type {names.dtype}, shape {names.shape}; "
            "accepted is a list of texts"
        )
    return Source(parts, accepted_names(names.tolist(), where=f"{path}: {CLASSES}"))


def accepted_images(stored: np.ndarray, *, where: str) -> np.ndarray:
    """Images as `(examples, channels, height, width)` from N×H×W, N×H×W×C or N×C×H×W.

    With four axes, the channels are the one of axis 1 and axis 3 whose length is 1 or 3.

    Raises:
        DataError: If it is neither or both, and for pixels that are not acceptable.
    """
    shape = stored.shape
    accepted = "N×H×W, N×H×W×C and N×C×H×W with 1 or 3 channels, none of them 0"
    if len(shape) not in (3, 4) or 0 in shape[1:]:
        raise DataError(f"{where}: found images of shape {shape}; accepted are {accepted}")
    if shape[0] == 0:
        raise DataError(f"{where}: found no image, shape {shape}; accepted is at least one")
    images = accepted_pixels(stored, where=where)
    if len(shape) == 3:
        return images[:, None]
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first and last:
        raise DataError(
            f"{where}: found images of shape {shape}, whose channels may be axis 1 or axis 3; "
            "accepted are shapes that can be read in one way (grey images: N×H×W)"
        )
    if not first and not last:
        raise DataError(f"{where}: found images of shape {shape}; accepted are {accepted}")
    return images if first else np.moveaxis(images, 3, 1)


def _naming(found: set[str], *, path: Path) -> dict[str, tuple[str, str]]:
    """The naming that all arrays of a file belong to, images and labels in pairs."""
    for naming in NAMINGS:
        pairs = [pair for pair in naming.values() if found.intersection(pair)]
        known = {name for pair in naming.values() for name in pair}
        if pairs and found <= known:
            for name in (name for pair in pairs for name in pair):
                if name not in found:
                    raise DataError(
                        f"{path}: found {', '.join(sorted(found))}, but no {name}; "
                        "accepted are images and labels in pairs"
                    )
            return naming
    accepted = " or ".join(
        ", ".join(name for pair in naming.values() for name in pair) for naming in NAMINGS
    )
    raise DataError(
        f"{path}: found the arrays {', '.join(sorted(found)) or 'of no name'}; "
        f"accepted are {accepted}; and {CLASSES}"
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of the file, none of which may hold objects."""
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
        if size > MOST_BYTES:
            raise DataError(
                f"{path}: found {size} bytes of arrays; accepted are {MOST_BYTES // 2**30} GiB"
            )
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except DataError:
        raise
    except OSError as fault:
        raise unreadable(path, fault) from None
    except Exception as fault:  # zip and array headers of damaged files raise many kinds
        reason = " ".join(str(fault).split()) or type(fault).__name__
        raise DataError(
            f"{path}: found no npz file that can be read ({reason}); accepted are numbers and "
            "texts stored by numpy.savez or savez_compressed, no objects"
        ) from None
