"""A program of its own: sweeps on one real Ray, as one who stops and resumes them has them.

`python -m tests.sweep_runs FOLDER` leaves in `FOLDER/runs` the sweep `whole`, with two trials side
by side; and the same sweep `cut`, one trial after the other, stopped after its first trial and
continued.
"""

import json
import sys
import threading
import time
from pathlib import Path

from certify.jobs.sweep import load_plan
from certify.runs.interruption import heed
from certify.runs.run import watched
from certify.runs.run_dir import RunDir
from certify.runs.steering import STOP
from certify.stages.sweep import run_sweep
from certify.submitting.sweeping import open_sweep, search_of
from workers.cluster import embedded_cluster


def opened(folder, name, *overrides):
    plan = load_plan(folder / "sweep.toml", overrides=overrides)
    run_dir = RunDir(folder / "runs", name)
    run_dir.create()
    search = search_of(plan, folder=folder, run_dir=run_dir)
    open_sweep(search, (folder / "sweep.toml").read_bytes())
    return search


def carried_out(search):
    with search.run.dir.locked(), watched(search.run.dir, name="sweep"):
        return run_sweep(search)


def main():
    folder = Path(sys.argv[1])
    whole = opened(folder, "whole")
    cut = opened(folder, "cut", "resources.workers=1", "resources.cpus_per_worker=1")
    told = {}
    with embedded_cluster(whole.run.job.resources):
        carried_out(whole)
        heed(lambda: cut.run.dir.has(STOP))
        stopper = threading.Thread(
            target=stop_after_the_first, args=(folder / "runs",), daemon=True
        )
        stopper.start()
        try:
            carried_out(cut)
        except KeyboardInterrupt as wish:
            told["wish"] = str(wish)
        told["states"] = {
            path.name: json.loads((path / "state.json").read_text())["status"]
            for path in sorted((folder / "runs").glob("cut*"))
        }
        told["first"] = (folder / "runs" / "cut-001" / "result.json").stat().st_mtime_ns
        cut.run.dir.delete(STOP)
        again = opened(folder, "cut", "resources.workers=1", "resources.cpus_per_worker=1")
        carried_out(again)
    (folder / "told.json").write_text(json.dumps(told))


def stop_after_the_first(runs):
    while not (runs / "cut-001" / "result.json").exists():
        time.sleep(0.01)
    (runs / "cut" / STOP).write_text("")


if __name__ == "__main__":
    main()
