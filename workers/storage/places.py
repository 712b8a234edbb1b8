"""Which storage a path or URL means."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from models.errors import DataError
from workers.storage.bucket import Bucket
from workers.storage.disk import Disk

Place = Disk | Bucket
"""Files by names below one folder or URL."""
URL = re.compile(r"[a-z0-9]+:/")


def is_url(path: Path | str) -> bool:
    """Whether a path is no path, also after `Path` took one of its slashes."""
    return re.match(URL, str(path)) is not None


def place_of(path: Path | str, *, folder: Path | None = None) -> Place:
    """Where files lie.

    Args:
        path: a folder or file, or s3://BUCKET/PATH.
        folder: where a relative path starts.

    Raises:
        InvalidInputError: For a URL of another kind.
        RuntimeError: For the home folder of a user whom nobody knows.
    """
    if is_url(path):
        return Bucket(str(path))
    return Disk((folder or Path()) / Path(path).expanduser())


@contextmanager
def fetched(url: str) -> Iterator[Path]:
    """A copy of all that lies at a URL, on this machine's disk for as long as the block lasts.

    Raises:
        DataError: If there is nothing, or what is raised in the block, told of the URL.
        ClusterError: If the object store cannot be reached.
    """
    place = Bucket(url)
    with tempfile.TemporaryDirectory(prefix="certify-") as made:
        root = Path(made) / PurePosixPath(str(place)).name
        names = [name for name, _ in place.names()]
        if not names:
            raise DataError(f"{place}: found nothing there; accepted is a file or a folder")
        copy = Disk(root)
        for name in names:
            copy.write(name, place.read(name))
        try:
            yield root
        except DataError as fault:
            raise DataError(str(fault).replace(str(root), str(place))) from None
