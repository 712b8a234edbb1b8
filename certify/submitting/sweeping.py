"""What a sweep is given, and what it begins with: its data, less the test images, and itself."""

import json
from pathlib import Path

from certify.jobs.sweep import Sweep
from certify.runs.kinds import SWEEP
from certify.runs.progress import Reporter
from certify.runs.run import Run
from certify.runs.run_dir import RunDir
from certify.stages.sweep import Search
from certify.stages.training import lesson_of
from certify.stages.trial import on_validation
from models.errors import JobError
from models.splits import refuse_unreachable
from workers.data import describe, load_data
from workers.training import rehearse


def rehearse_sweep(sweep: Sweep, folder: Path) -> str:
    """Load the data and run one forward pass of each network that the sweep names.

    Returns:
        What was found, in a few words.

    Raises:
        CertifyError: If the data or a network is refused.
    """
    dataset = on_validation(load_data(sweep.example.data, seed=sweep.example.seed, folder=folder))
    refuse_unreachable(dataset, wished_radii(sweep))
    seen, count = set(), 0
    for values in sweep.combinations():
        job, count = sweep.job(values), count + 1
        name = json.dumps([job.model.model_dump(mode="json"), list(job.eps)])
        if name not in seen and job.model.architecture != "onnx":
            seen.add(name)
            rehearse(lesson_of(job, dataset), dataset)
    trials = sweep.spec.trials or count
    networks = "one network" if len(seen) == 1 else f"each of {len(seen)} networks"
    return (
        f"{trials} trials, trained on {len(dataset.train)} and certified on "
        f"{len(dataset.validation)} validation images; a forward pass of {networks} works"
    )


def wished_radii(sweep: Sweep) -> list[float]:
    """Every ε that a trial speaks of, rising."""
    wished = {sweep.job(values).train.for_eps for values in sweep.combinations()}
    return sorted({*sweep.example.eps, *(eps for eps in wished if eps is not None)})


def search_of(sweep: Sweep, *, folder: Path, run_dir: RunDir) -> Search:
    """A sweep with its data, of which it is given no test image.

    Raises:
        DataError: If the data is refused.
        JobError: If a trial wishes for a radius that no image of it can have.
    """
    job = sweep.example
    dataset = on_validation(load_data(job.data, seed=job.seed, folder=folder))
    refuse_unreachable(dataset, wished_radii(sweep))
    run = Run(job, dataset, run_dir, Reporter())
    return Search(sweep, run, folder.resolve())


def open_sweep(search: Search, text: bytes) -> None:
    """Write what a sweep begins with, or make sure that its data is the same.

    Args:
        search: whose folder this process holds.
        text: the file as it was written.

    Raises:
        JobError: If the data has changed since the sweep began.
    """
    run_dir, data = search.run.dir, describe(search.run.dataset)
    if run_dir.has("data.json") and run_dir.read_json("data.json") != data:
        raise JobError(f"the data of run {run_dir.run} has changed since it began")
    run_dir.write_json("data.json", data)
    run_dir.write("job.toml", text)
    run_dir.write_json(SWEEP, search.sweep.to_json())
