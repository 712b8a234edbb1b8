"""Stop, resume and delete runs."""

from certify.runs.records import read_record
from certify.runs.run_dir import RunDir
from models.errors import JobError

STOP = "stop"
"""The file that asks a run to stop; whoever starts the run again removes it."""


def ask_to_stop(run_dir: RunDir) -> None:
    """Have a run stop after the step at hand, on whatever machine it runs.

    Raises:
        JobError: If it has ended.
    """
    record = read_record(run_dir)
    if not record.live:
        raise JobError(f"run {run_dir.run} has ended ({record.status}); there is nothing to stop")
    run_dir.write(STOP, "")


def delete_run(run_dir: RunDir) -> None:
    """Remove a run's folder with all that is in it.

    Raises:
        JobError: If the run has not ended, or its folder is only a link to another place.
        ClusterError: If the storage refuses.
    """
    record = read_record(run_dir)
    if record.live:
        raise JobError(f"run {run_dir.run} is {record.status}; stop it before it is deleted")
    run_dir.remove()
