"""The folder of a run: every path in it, and the only writer of files.

A file appears whole or not at all: it is written beside its place, flushed to the disk and then
renamed.  What a run has done is what lies in its folder.
"""

import errno
import fcntl
import io
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from models.errors import ClusterError, JobError

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
LOOKING_SECONDS = 1.0
"""Far more than it takes to look whether a run is held."""


class RunDir:
    """The folder `runs/<run id>` and its artefacts, by name."""

    def __init__(self, root: Path, run: str) -> None:
        if re.match(r"[a-z0-9]+:/", str(root)):
            raise JobError(
                f"runs in {root} are refused; accepted is a folder, of a shared disk too"
            )
        if not RUN_ID.fullmatch(run):
            raise JobError(
                f"run id {run!r} is refused; accepted are lower-case letters, digits and dashes"
            )
        self.run = run
        self.path = root / run

    def at(self, name: str) -> Path:
        """Path of an artefact."""
        return self.path / name

    def has(self, name: str) -> bool:
        """Whether an artefact is there, and so whole."""
        return self.at(name).is_file()

    def create(self) -> None:
        """Make the folder.

        Raises:
            JobError: If it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as fault:
            raise JobError(f"{self.path} cannot be written: {fault.strerror}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process alone; somebody who just looks is waited for.

        Raises:
            JobError: If another process holds it.
        """
        try:
            with FileLock(self.at(".lock"), timeout=LOOKING_SECONDS):
                yield
        except Timeout:
            raise JobError(f"run {self.run} is being worked on by another process") from None

    def held(self) -> bool:
        """Whether a process holds the run; a reader may ask, on a read-only disk too."""
        try:
            with self.at(".lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError as fault:
            return fault.errno in (errno.EAGAIN, errno.EACCES)
        return False

    def write(self, name: str, content: bytes | str) -> None:
        """Write an artefact, whole or not at all.

        Raises:
            ClusterError: If the disk refuses.
        """
        write_whole(self.at(name), content.encode() if isinstance(content, str) else content)

    def write_json(self, name: str, value: Any) -> None:
        """Write numbers and texts; NaN and infinities are refused."""
        self.write(name, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table as Parquet."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        self.write(name, buffer.getvalue())

    def read(self, name: str) -> bytes:
        """An artefact's bytes."""
        return self.at(name).read_bytes()

    def read_json(self, name: str) -> Any:
        """An artefact of numbers and texts.

        Raises:
            JobError: If it is damaged.
        """
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError):
            raise self._damaged(name) from None

    def read_table(self, name: str) -> pa.Table:
        """A table.

        Raises:
            JobError: If it is damaged.
        """
        try:
            return pq.read_table(self.at(name), partitioning=None)
        except pa.ArrowInvalid:
            raise self._damaged(name) from None

    def _damaged(self, name: str) -> JobError:
        return JobError(
            f"{self.at(name)} is damaged; delete it and resume the run to make it again"
        )

    def delete(self, name: str) -> None:
        """Remove an artefact that a later one has replaced, and its folder with the last one."""
        path = self.at(name)
        path.unlink(missing_ok=True)
        if path.parent != self.path and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def record(self, event: str, **facts: object) -> None:
        """Append a line to the run's history, and end the one that a dying process left open."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment, "event": event, **facts}, ensure_ascii=False)
        path = self.at("events.jsonl")
        try:
            with path.open("ab+") as file:
                file.seek(max(0, file.tell() - 1))
                torn = file.read(1) not in (b"", b"\n")
                file.write((torn * "\n" + line + "\n").encode())
        except OSError as fault:
            raise ClusterError(f"{path} cannot be written: {fault.strerror}") from None


def write_whole(target: Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        ClusterError: If the disk refuses.
    """
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


def new_run_id(name: str) -> str:
    """An id that no other run has, in the order of time."""
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{name}-{moment}-{secrets.token_hex(2)}"
