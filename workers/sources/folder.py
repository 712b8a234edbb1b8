"""Images in folders: `class/name.png`, or `train/class/name.png` beside `test` and `validation`.

Classes are the folders' names in the order of their code points, and so are the images of a class:
the same files give the same data on every system.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from models.errors import DataError
from workers.sources.encoded_images import ImageKind, decode_images
from workers.sources.source import Part, Source, accepted_names, existing_folder, unreadable
from workers.sources.stored_images import StoredImages

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
PART_FOLDERS = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
}
LEFT_BY_SYSTEMS = ("Thumbs.db", "desktop.ini")  # beside names that start with a dot
MOST_FILE_BYTES = 2**28


def read_folder(root: Path, *, buffer: int | None = None) -> Source:
    """Every image below `root`, whose folders are classes, or parts of classes.

    Args:
        root: the folder.
        buffer: of the training part, the most images that are held; all if left out.

    Raises:
        OSError: For what the system does not let us read.
        DataError: For a file that is no acceptable image, a link that leads out of `root`, and
            folders that could be read in two ways.
    """
    existing_folder(root)
    folders = _part_folders(root)
    names = [child.name for child in _children(folders["train"], folders_only=True)]
    classes = accepted_names(names, where=str(folders["train"]))
    if not classes:
        raise DataError(
            f"{folders['train']}: found no folder of a class; accepted are class/name.png "
            "and train/class/name.png"
        )
    parts: dict[str, Part] = {}
    kind = None
    for name, folder in folders.items():
        paths, labels = _examples(folder, root=root, classes=classes)
        files = [(str(folder), len(labels))]
        if name == "train" and buffer is not None:
            stored, kind = _stored(paths, buffer=buffer)
            parts[name] = Part(stored, labels, files)
        else:
            pixels, kind = _decoded(paths, kind=kind)
            parts[name] = Part(pixels, labels, files)
    return Source(parts, classes)


def _part_folders(root: Path) -> dict[str, Path]:
    """The folder of each part; `root` itself is the training part where it holds classes."""
    children = _children(root, folders_only=True)
    found = [child for child in children if child.name in PART_FOLDERS]
    if not found:
        return {"train": root}
    names = [PART_FOLDERS[child.name] for child in found]
    if "train" not in names or len(set(names)) < len(names) or len(found) < len(children):
        raise DataError(
            f"{root}: found the folders {', '.join(child.name for child in children)}; accepted "
            "are either classes, or train with or without test and one of validation, val, valid"
        )
    folders = dict(zip(names, found, strict=True))
    return {"train": folders.pop("train"), **folders}


@dataclass(frozen=True)
class _Files:
    """Reads images of one kind, each a chunk of its own."""

    paths: list[Path]
    kind: ImageKind

    @property
    def sizes(self) -> np.ndarray:
        return np.ones(len(self.paths), dtype=np.int64)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.kind.image_shape

    def place(self, chunk: int) -> str:
        return str(self.paths[chunk])

    def read(self, chunks: Sequence[int]) -> list[np.ndarray]:
        try:
            pixels, _ = _decoded([self.paths[chunk] for chunk in chunks], kind=self.kind)
        except OSError as fault:
            raise unreadable(fault.filename or self.paths[0], fault) from None
        return [pixels[row : row + 1] for row in range(len(pixels))]


def _stored(paths: list[Path], *, buffer: int) -> tuple[StoredImages, ImageKind]:
    _, kind = _decoded(paths[:1], kind=None)
    files = _Files([path.absolute() for path in paths], kind)
    return StoredImages(files, buffer=buffer), kind


def _decoded(paths: list[Path], *, kind: ImageKind | None) -> tuple[np.ndarray, ImageKind]:
    names = [str(path) for path in paths]
    return decode_images(names, lambda row: _content(paths[row]), kind=kind)


def _examples(
    folder: Path, *, root: Path, classes: tuple[str, ...]
) -> tuple[list[Path], np.ndarray]:
    """Files of a part and their labels, class after class."""
    _check_inside(folder, root=root)
    paths: list[Path] = []
    counts = [0] * len(classes)
    for child in _children(folder, folders_only=True):
        if child.name not in classes:
            raise DataError(
                f"{child}: found a class that has no training example; "
                f"accepted are the {len(classes)} classes of train"
            )
        images = list(_images(child, root=root))
        counts[classes.index(child.name)] = len(images)
        paths += images
    if not paths:
        raise DataError(f"{folder}: found no image; accepted is a part that is not empty")
    return paths, np.repeat(np.arange(len(classes)), counts)


def _images(folder: Path, *, root: Path) -> Iterator[Path]:
    """Files of one class, each known to be a plain file with an image's name inside `root`."""
    _check_inside(folder, root=root)
    for path in _children(folder, folders_only=False):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            raise DataError(
                f"{path}: found in a folder of a class; "
                f"accepted are files that end in {', '.join(SUFFIXES)}"
            )
        _check_inside(path, root=root)
        yield path


def _check_inside(path: Path, *, root: Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{path}: found a link to a place outside {root}; accepted are links inside"
        )


def _children(folder: Path, *, folders_only: bool) -> list[Path]:
    """What a folder holds, by name; where folders are expected, an image is out of place."""
    found = sorted(folder.iterdir(), key=lambda path: path.name)
    paths = [
        path for path in found if not path.name.startswith(".") and path.name not in LEFT_BY_SYSTEMS
    ]
    for path in paths:
        if not path.name.isprintable():
            raise DataError(
                f"{folder}: found the name {path.name!r}; accepted are names that can be printed"
            )
    if not folders_only:
        return paths
    for path in paths:
        if path.suffix.lower() in SUFFIXES and not path.is_dir():
            raise DataError(f"{path}: found an image outside the folder of its class")
    return [path for path in paths if path.is_dir()]


def _content(path: Path) -> bytes:
    with path.open("rb") as opened:
        return whole_image(opened, name=str(path))


def whole_image(opened: BinaryIO, *, name: str) -> bytes:
    """An encoded image of a plausible size.

    Raises:
        DataError: If it is larger.
    """
    content = opened.read(MOST_FILE_BYTES + 1)
    if len(content) > MOST_FILE_BYTES:
        raise DataError(f"{name}: found more than {MOST_FILE_BYTES} bytes; accepted are fewer")
    return content
