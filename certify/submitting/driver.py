"""The process of a run on a cluster, which Ray starts.

It is `python -m certify.submitting.driver RUNS RUN`.

All that it needs lies in the run's folder, which it shares with whoever submitted the run.
"""

import sys
from pathlib import Path
from typing import Any, NoReturn

from certify.runs.interruption import listen, obey, reason
from certify.runs.origin import read_origin
from certify.runs.progress import Reporter
from certify.runs.records import EXIT_STATUS, find_run
from certify.runs.run import Run, note, stored_job, watched
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
    sys.exit(0 if summary["verdict"] is None else EXIT_STATUS[summary["verdict"]])


def drive(run_dir: RunDir) -> dict[str, Any]:
    """Run or continue a run on the cluster that this process was started on.

    Returns:
        The summary.

    Raises:
        CertifyError: If anything is refused or fails; the run's record says what.
    """
    with run_dir.locked():  # first: the run is known to be taken up before torch is loaded
        from certify.submitting.submission import carry_out, read_inputs
        from workers.shared_cluster import shared_cluster

        name = stored_job(run_dir).name
        with watched(run_dir, name=name):
            job, dataset, foreign = read_inputs(
                stored_job(run_dir), read_origin(run_dir).folder, run_dir=run_dir
            )

            def waits(why: str) -> None:
                obey()
                note(run_dir, "PENDING", name=name, reason=why)

            run = Run(job, dataset, run_dir, Reporter(), foreign)
            run.open(run_dir.read("job.toml"))
            return carry_out(run, shared_cluster(job.resources, waits=waits))


if __name__ == "__main__":
    main()
