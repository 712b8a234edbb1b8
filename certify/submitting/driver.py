"""The process of a run on a cluster, which Ray starts.

It is `python -m certify.submitting.driver RUNS RUN`.

All that it needs lies in the run's folder, which it shares with whoever submitted the run.
"""

import sys
from pathlib import Path
from typing import Any, NoReturn

from certify.runs.interruption import listen, obey, reason
from certify.runs.origin import read_origin
from certify.runs.outcome import exit_status
from certify.runs.plans import stored_plan
from certify.runs.records import EXIT_STATUS, find_run, stored
from certify.runs.run import note, watched
from certify.runs.run_dir import RunDir
from models.errors import CertifyError


def main() -> NoReturn:
    """Carry out the run that the command line names."""
    runs, run = sys.argv[1:]
    listen()
    try:
        summary = drive(find_run(Path(runs), run))
    except CertifyError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_status)
    except KeyboardInterrupt as wish:
        print(reason(wish), file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_STATUS["incomplete"])
    sys.exit(exit_status(summary))


def drive(run_dir: RunDir) -> dict[str, Any]:
    """Run or continue a run on the cluster that this process was started on.

    Returns:
        The summary.

    Raises:
        CertifyError: If anything is refused or fails; the run's record says what.
    """
    with run_dir.locked():  # first: the run is known to be taken up before torch is loaded
        from certify.submitting.work import carry_out, work_of
        from workers.shared_cluster import shared_cluster

        name = stored(run_dir).name or ""
        with watched(run_dir, name=name):
            told = ""

            def waits(why: str) -> None:
                nonlocal told
                obey()
                if why != told:
                    told = why
                    note(run_dir, "PENDING", name=name, reason=why)

            folder = read_origin(run_dir).folder
            work = work_of(stored_plan(run_dir), folder=folder, run_dir=run_dir)
            work.open(run_dir.read("job.toml"))
            return carry_out(work, shared_cluster(work.run.job.resources, waits=waits))


if __name__ == "__main__":
    main()
