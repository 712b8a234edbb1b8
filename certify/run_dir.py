"""The folder of a run: every path in it, and the only writer of files.

A file appears whole or not at all: it is written beside its place, flushed to the disk and then
renamed.  What a run has done is what lies in its folder.
"""

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

from models.errors import CertifyError, JobError

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")


class RunDir:
    """The folder `runs/<run id>` and its artefacts, by name."""

    def __init__(self, root: Path, run: str) -> None:
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
        """Hold the run for this process alone.

        Raises:
            JobError: If another process holds it.
        """
        try:
            with FileLock(self.at(".lock"), timeout=0):
                yield
        except Timeout:
            raise JobError(f"run {self.run} is being worked on by another process") from None

    def write(self, name: str, content: bytes | str) -> None:
        """Write an artefact, whole or not at all.

        Raises:
            CertifyError: If the disk refuses.
        """
        target = self.at(name)
        data = content.encode() if isinstance(content, str) else content
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
            raise CertifyError(f"{target} cannot be written: {fault.strerror}") from None

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
        """An artefact of numbers and texts."""
        return json.loads(self.read(name))

    def read_table(self, name: str) -> pa.Table:
        """A table."""
        return pq.read_table(self.at(name), partitioning=None)

    def delete(self, name: str) -> None:
        """Remove an artefact that a later one has replaced, and its folder with the last one."""
        path = self.at(name)
        path.unlink(missing_ok=True)
        if path.parent != self.path and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def record(self, event: str, **facts: object) -> None:
        """Append a line to the run's history."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment, "event": event, **facts}, ensure_ascii=False)
        path = self.at("events.jsonl")
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as fault:
            raise CertifyError(f"{path} cannot be written: {fault.strerror}") from None


def new_run_id(name: str) -> str:
    """An id that no other run has, in the order of time."""
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{name}-{moment}-{secrets.token_hex(2)}"
