"""Where a run was begun, which is what it takes to continue it by its id alone."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from certify.runs.run_dir import RunDir
from models.errors import JobError

FILE = "origin.json"


@dataclass(frozen=True)
class Origin:
    """Where a run was begun.

    Attributes:
        folder: where relative paths of the job begin.
        address: of the cluster's job server; None for the machine that the command ran on.
        attempt: how often it was submitted to a cluster.
    """

    folder: Path
    address: str | None = None
    attempt: int = 0

    @property
    def near(self) -> bool:
        """Whether it was begun on this machine, on a cluster of its own or on none."""
        host = urlsplit(self.address).hostname if self.address else None
        return self.address is None or host in ("127.0.0.1", "::1")

    def write(self, run_dir: RunDir) -> None:
        """Write it into the run's folder."""
        found = {"folder": str(self.folder), "address": self.address, "attempt": self.attempt}
        run_dir.write_json(FILE, found)


def read_origin(run_dir: RunDir) -> Origin:
    """Where a run was begun.

    Raises:
        JobError: If that is not written there.
    """
    try:
        found = run_dir.read_json(FILE)
        return Origin(Path(found["folder"]), found["address"], int(found["attempt"]))
    except (OSError, LookupError, TypeError, ValueError):
        place = run_dir.where(FILE)
        raise JobError(f"{place} cannot be read; submit the job again with --run") from None


def attempts(run_dir: RunDir) -> int:
    """How often a run was submitted to a cluster, as far as its folder says."""
    try:
        return read_origin(run_dir).attempt
    except JobError:
        return 0
