"""The folder of a run: every artefact by its name, and the only writer of files.

An artefact appears whole or not at all, on a disk as in an object store.  What a run has done is
what lies in its folder.
"""

import io
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import JobError
from workers.storage.places import is_url, place_of

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
HISTORY = "events.jsonl"


class RunDir:
    """The folder `runs/<run id>` and its artefacts, by name."""

    def __init__(self, root: Path, run: str) -> None:
        if not RUN_ID.fullmatch(run):
            raise JobError(
                f"run id {run!r} is refused; accepted are lower-case letters, digits and dashes"
            )
        self.run = run
        self.path = root / run
        self.files = place_of(self.path)

    @property
    def shared(self) -> bool:
        """Whether it lies in an object store, which other machines reach as this one does."""
        return is_url(self.path)

    @property
    def runs(self) -> str:
        """The folder of runs that it is in, as another process finds it."""
        if self.shared:
            return str(self.files).rpartition("/")[0]
        return str(self.path.parent.resolve())

    def at(self, name: str) -> Path:
        """Path of an artefact on a disk."""
        return self.path / name

    def where(self, name: str = "") -> str:
        """What a user can look it up by."""
        return "/".join(filter(None, (str(self.files), name)))

    def has(self, name: str) -> bool:
        """Whether an artefact is there, and so whole."""
        return self.files.has(name)

    def names(self, pattern: str) -> list[str]:
        """Artefacts whose names match, in order."""
        return sorted(name for name, _ in self.files.names() if fnmatchcase(name, pattern))

    def create(self) -> None:
        """Make the folder.

        Raises:
            JobError: If it cannot be written.
            ClusterError: If the object store cannot be reached.
        """
        self.files.create()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process alone.

        Raises:
            JobError: If another process holds it.
        """
        with self.files.locked():
            yield

    def held(self) -> bool:
        """Whether a process holds the run; a reader may ask, on a read-only disk too."""
        return self.files.held()

    def write(self, name: str, content: bytes | str) -> None:
        """Write an artefact, whole or not at all.

        Raises:
            ClusterError: If the storage refuses.
        """
        self.files.write(name, content.encode() if isinstance(content, str) else content)

    def write_json(self, name: str, value: Any) -> None:
        """Write numbers and texts; NaN and infinities are refused."""
        self.write(name, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table as Parquet."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        self.write(name, buffer.getvalue())

    def read(self, name: str, *, start: int = 0) -> bytes:
        """An artefact's bytes, from a place on."""
        return self.files.read(name, start=start)

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
            return pq.read_table(io.BytesIO(self.read(name)))
        except pa.ArrowInvalid:
            raise self._damaged(name) from None

    def _damaged(self, name: str) -> JobError:
        return JobError(
            f"{self.where(name)} is damaged; delete it and resume the run to make it again"
        )

    def delete(self, name: str) -> None:
        """Remove an artefact that a later one has replaced, and its folder with the last one."""
        self.files.delete(name)

    def remove(self) -> None:
        """Remove the folder with all that is in it.

        Raises:
            JobError: If it is only a link to another place.
            ClusterError: If the storage refuses.
        """
        self.files.remove()

    def record(self, event: str, **facts: object) -> None:
        """Append a line to the run's history.

        Raises:
            ClusterError: If the storage refuses.
        """
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment, "event": event, **facts}, ensure_ascii=False)
        self.files.append(HISTORY, (line + "\n").encode())


def new_run_id(name: str) -> str:
    """An id that no other run has, in the order of time."""
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{name}-{moment}-{secrets.token_hex(2)}"
