"""Fashion-MNIST from a given folder, from Debian's package, or from its authors' servers.

The pinned hashes are of the files' content before compression, because every packager compresses
anew.  They are checked wherever the files come from: what calls itself Fashion-MNIST is it.

Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms", 2017, arXiv:1708.07747.
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from models.errors import DataError
from workers.sources.download import cache_folder, download
from workers.sources.idx import idx_size, parse_idx, read_idx_file
from workers.sources.source import Part, Source, existing_folder

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # of package dataset-fashion-mnist
SERVERS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)


@dataclass(frozen=True)
class IdxFile:
    """One of the four files: its name, the shape of its array, SHA-256 of its bare content."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    def check(self, content: bytes, *, where: str) -> None:
        """Refuse content that has another hash."""
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise DataError(
                f"{where}: found content with SHA-256 {found}; accepted is Fashion-MNIST's own, "
                f"{self.sha256} (other images in this format: convert them to npz)"
            )


FILES = {
    "train": (
        IdxFile(
            "train-images-idx3-ubyte",
            (60_000, 28, 28),
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        IdxFile(
            "train-labels-idx1-ubyte",
            (60_000,),
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
    ),
    "test": (
        IdxFile(
            "t10k-images-idx3-ubyte",
            (10_000, 28, 28),
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte",
            (10_000,),
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


def read_fashion_mnist(folder: Path | None) -> Source:
    """The 60,000 training and 10,000 test images, each part in its published order.

    Args:
        folder: where the four idx files are, packed or not; if left out, Debian's folder, then
            the cache of earlier downloads, then a download into that cache.
    """
    if folder is not None:
        paths = _paths_in(existing_folder(folder))
        missing = [name for name, path in paths.items() if path is None]
        if missing:
            raise DataError(
                f"{folder}: found no {missing[0]}; accepted is a folder with the files "
                f"{', '.join(paths)}, each bare or with .gz"
            )
    elif None in (paths := _paths_in(DEBIAN_FOLDER)).values():
        paths = {}
    parts = {}
    for name, (images_file, labels_file) in FILES.items():
        images, _ = _array(images_file, paths.get(images_file.name))
        labels, where = _array(labels_file, paths.get(labels_file.name))
        parts[name] = Part(images[:, None], labels.astype(np.int64), [(where, len(labels))])
    return Source(parts, CLASSES)


def _paths_in(folder: Path) -> dict[str, Path | None]:
    """Each of the four files in the folder, under any of its usual names."""
    paths: dict[str, Path | None] = {}
    for file in (file for part in FILES.values() for file in part):
        dotted = file.name.replace("-idx", ".idx")
        names = (file.name, dotted, f"{file.name}.gz", f"{dotted}.gz")
        paths[file.name] = next(
            (folder / name for name in names if (folder / name).is_file()), None
        )
    return paths


def _array(file: IdxFile, path: Path | None) -> tuple[np.ndarray, str]:
    """The array of one file, and where it was found."""
    if path is None:
        content, path = _downloaded(file)
    else:
        content = read_idx_file(path, shape=file.shape)
        file.check(content, where=str(path))
    return parse_idx(content, shape=file.shape, where=str(path)), str(path)


def _downloaded(file: IdxFile) -> tuple[bytes, Path]:
    """Content of a file from the cache, or else from the first server that has it."""
    path = cache_folder() / "fashion-mnist" / file.name
    try:
        content = read_idx_file(path, shape=file.shape)
        file.check(content, where=str(path))
    except DataError:  # absent, or damaged since: download it again
        pass
    else:
        return content, path
    faults = []
    for server in SERVERS:
        url = f"{server}{file.name}.gz"
        try:
            content = download(
                url,
                path,
                most=idx_size(file.shape),
                check=partial(file.check, where=url),
            )
        except DataError as fault:
            faults.append(str(fault))
        else:
            return content, path
    raise DataError(
        f"fashion-mnist: found neither {DEBIAN_FOLDER} nor a way to download it "
        f"({'; '.join(faults)}); accepted are data.path = a folder with the four idx files, "
        "Debian's package dataset-fashion-mnist, or a connection for a download of 30 MB"
    )
