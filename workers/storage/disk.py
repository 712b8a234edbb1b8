"""Files below a folder of a disk, by names relative to it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from models.errors import DataError


@dataclass(frozen=True)
class Disk:
    """A folder, or one file of it."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def names(self) -> Iterator[tuple[str, int]]:
        """Names and bytes of all plain files below the folder, in no order.

        Files and folders whose names begin with a dot are left out; a link to a folder is not
        followed, one to a file that lies outside is refused.

        Raises:
            OSError: For what the system does not let us read.
            DataError: For a link that leads out.
        """
        if self.root.is_file():
            yield "", self.root.stat().st_size
            return
        inside = self.root.resolve()
        for folder, subfolders, files in os.walk(self.root, onerror=_refuse):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            for name in files:
                path = Path(folder, name)
                if name.startswith(".") or not path.is_file():
                    continue
                if path.is_symlink() and not path.resolve().is_relative_to(inside):
                    raise DataError(
                        f"{path}: found a link to a place outside {self.root}; accepted are links "
                        "inside"
                    )
                yield path.relative_to(self.root).as_posix(), path.stat().st_size

    def open(self, name: str) -> BinaryIO:
        """A file, to be read from any place of it; the name "" is the root's own."""
        return self.path(name).open("rb")

    def path(self, name: str) -> Path:
        """Where a file lies."""
        return self.root / name if name else self.root


def _refuse(fault: OSError) -> None:
    raise fault
