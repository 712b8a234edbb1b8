"""Files below a folder of a disk, by names relative to it.

A file appears whole or not at all: it is written beside its place, flushed to the disk and then
renamed.  The kernel keeps the lock and takes it from a process that dies, however it dies.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

from filelock import FileLock, Timeout

from models.errors import ClusterError, DataError, JobError

LOCK = ".lock"
LOOKING_SECONDS = 1.0
"""Far more than it takes to look whether a lock is held."""


@dataclass(frozen=True)
class Disk:
    """A folder, or one file of it."""

    root: Path
    poll_seconds: ClassVar[float] = 0.0
    """At least, between two looks at a file that somebody else may change: they cost nothing."""

    def __str__(self) -> str:
        return str(self.root)

    def path(self, name: str) -> Path:
        """Where a file lies; the name "" is the root's own."""
        return self.root / name if name else self.root

    def below(self, name: str) -> "Disk":
        """A folder in it."""
        return Disk(self.root / name)

    def folders(self) -> list[str]:
        """Names of the folders in it, in order; none where there is nothing.

        Raises:
            ClusterError: If it cannot be read.
        """
        try:
            return sorted(path.name for path in self.root.iterdir())
        except FileNotFoundError:
            return []
        except OSError as fault:
            raise ClusterError(f"{self.root} cannot be read: {fault.strerror}") from None

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

    def has(self, name: str) -> bool:
        """Whether a file is there, and so whole."""
        return self.path(name).is_file()

    def open(self, name: str) -> BinaryIO:
        """A file, to be read from any place of it."""
        return self.path(name).open("rb")

    def read(self, name: str, *, start: int = 0) -> bytes:
        """A file's bytes from a place on."""
        with self.open(name) as file:
            file.seek(start)
            return file.read()

    def create(self) -> None:
        """Make the folder.

        Raises:
            JobError: If it cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as fault:
            raise JobError(f"{self.root} cannot be written: {fault.strerror}") from None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            ClusterError: If the disk refuses.
        """
        target = self.path(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(beside).chmod(0o644)
                Path(beside).replace(target)
            except BaseException:
                Path(beside).unlink(missing_ok=True)
                raise
        except OSError as fault:
            raise ClusterError(f"{target} cannot be written: {fault.strerror}") from None

    def append(self, name: str, line: bytes) -> None:
        """Append a line, and end the one that a dying process left open.

        Raises:
            ClusterError: If the disk refuses.
        """
        path = self.path(name)
        try:
            with path.open("ab+") as file:
                file.seek(max(0, file.tell() - 1))
                torn = file.read(1) not in (b"", b"\n")
                file.write(torn * b"\n" + line)
        except OSError as fault:
            raise ClusterError(f"{path} cannot be written: {fault.strerror}") from None

    def delete(self, name: str) -> None:
        """Remove a file, and its folder with the last one."""
        path = self.path(name)
        path.unlink(missing_ok=True)
        if path.parent != self.root and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def remove(self) -> None:
        """Remove the folder with all that is in it.

        It is moved out of the way first: it is there whole or not at all.

        Raises:
            JobError: If it is only a link to another place.
            ClusterError: If the disk refuses.
        """
        if self.root.is_symlink():
            raise JobError(f"{self.root} is a link; accepted is a folder inside the runs folder")
        away = self.root.with_name(f".{self.root.name}.deleted")
        try:
            with self.locked():
                shutil.rmtree(away, ignore_errors=True)
                self.root.rename(away)
            shutil.rmtree(away)
        except OSError as fault:
            raise ClusterError(f"{self.root} cannot be deleted: {fault.strerror}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process alone; somebody who just looks is waited for.

        Raises:
            JobError: If another process holds it.
        """
        try:
            with FileLock(self.root / LOCK, timeout=LOOKING_SECONDS):
                yield
        except Timeout:
            raise JobError(f"run {self.root.name} is being worked on by another process") from None

    def held(self) -> bool:
        """Whether a process holds the folder; a reader may ask, on a read-only disk too."""
        try:
            with (self.root / LOCK).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError as fault:
            return fault.errno in (errno.EAGAIN, errno.EACCES)
        return False


def _refuse(fault: OSError) -> None:
    raise fault
