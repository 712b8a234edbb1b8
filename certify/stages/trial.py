"""One trial of a sweep: train, export, prove and certify, on the validation part alone.

It is a run of its own folder, and a chain of tasks: many trials go on side by side, and after an
interruption each goes on from its last artefact.
"""

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from certify.jobs.space import Values
from certify.runs.kinds import TRIAL
from certify.runs.run import Run, watched
from certify.stages.proving import BOUNDS, CERTIFICATES, NETWORK
from certify.stages.training import WEIGHTS, history_of, keep_epoch, lesson_of, ship, where_left
from models.errors import CertifyError, ClusterError
from models.splits import Dataset
from reports.words import toml
from workers import certification, lessons, training, trials

RESULT = "result.json"
"""Of a trial that has ended."""

Chain = Generator[Any, Any, None]


@dataclass(frozen=True)
class Trial:
    """A trial of a sweep.

    Attributes:
        run: its job and its folder; the test part of its data is the validation part.
        sweep: id of the sweep.
        number: from 1.
        values: what the sweep set for it.
        origin: where relative paths of its job begin.
    """

    run: Run
    sweep: str
    number: int
    values: Values
    origin: Path

    @property
    def over(self) -> bool:
        """Whether it has ended, well or badly."""
        return self.run.dir.has(RESULT)

    def result(self) -> dict[str, Any]:
        """What it ended with."""
        found: dict[str, Any] = self.run.dir.read_json(RESULT)
        return found


def on_validation(dataset: Dataset) -> Dataset:
    """The data as trials see it: the test part is not among it, the validation part is tested."""
    return Dataset(
        train=dataset.train,
        validation=dataset.validation,
        test=dataset.validation,
        classes=dataset.classes,
    )


def chain(trial: Trial, parts: tuple[Any, Any]) -> Chain:
    """The trial's tasks, each with its number as a label; what they give is written down here.

    A trial that cannot be trained or certified ends with that as its result, and others go on.

    Raises:
        ClusterError: If its workers died too often, or the disk refuses.
    """
    run = trial.run
    run.dir.create()
    with run.dir.locked():
        run.dir.write_json(
            TRIAL,
            {
                "sweep": trial.sweep,
                "trial": trial.number,
                "values": trial.values,
                "part": "validation",
            },
        )
        run.open(toml(run.job.resolved()).encode())
        told = f"trial {trial.number} of {trial.sweep}"
        try:
            with watched(run.dir, name=run.job.name):
                yield from _stages(trial, parts)
        except ClusterError:
            raise
        except CertifyError as fault:
            run.dir.write_json(RESULT, {"failed": str(fault)})
            run.note("FAILED", reason=f"{told}: {fault}", exit_status=fault.exit_status)
            return
        run.note("SUCCEEDED", reason=f"{told}, on its validation part", exit_status=0)


def _stages(trial: Trial, parts: tuple[Any, Any]) -> Chain:
    run, label = trial.run, trial.number
    told = trials.of_one_worker(lesson_of(run.job, run.dataset), run.job.resources)
    if not run.dir.has(WEIGHTS):
        yield from _train(trial, told, parts)
    if not run.dir.has(NETWORK):
        with run.recorded("export"):
            call = partial(training.export_task, told, run.dir.read(WEIGHTS), parts[1])
            model, _ = yield label, call
            run.dir.write(NETWORK, model)
    if not run.dir.has(BOUNDS):
        with run.recorded("prove"):
            call = partial(certification.prove_task, _network(run))
            run.dir.write_json(BOUNDS, (yield label, call))
    if not run.dir.has(CERTIFICATES):
        with run.recorded("certify"):
            yield from _certify(trial)
    run.dir.write_json(RESULT, _figures(run, told))


def _train(trial: Trial, told: lessons.Lesson, parts: tuple[Any, Any]) -> Chain:
    run = trial.run
    state, history = where_left(run.dir, told)
    with run.recorded("train"):
        while not lessons.is_over(told, history):
            progress = {"done": len(history), "total": told.train.epochs, "unit": "epochs"}
            run.note("RUNNING", stage="train", progress=progress)
            call = partial(training.epoch_task, told, parts, state, len(history))
            state, metrics = yield trial.number, call
            history = [*history, metrics]
            keep_epoch(run.dir, state, history, best=lessons.best_epoch(told, history))
        ship(run.dir, told, history)


def _certify(trial: Trial) -> Chain:
    run = trial.run
    part, size = run.dataset.validation, run.job.certify.shard_size
    bounds, tables = run.dir.read_json(BOUNDS), []
    for start in range(0, len(part), size):
        shard = part.take(slice(start, start + size))
        call = partial(certification.certify_task, _network(run), bounds, shard)
        table = yield trial.number, call
        tables.append(table)
    run.dir.write_table(CERTIFICATES, pa.concat_tables(tables).combine_chunks())


def _figures(run: Run, told: lessons.Lesson) -> dict[str, Any]:
    """Counts from the rows, and what training took."""
    rows, history = run.dir.read_table(CERTIFICATES), history_of(run.dir)
    correct = rows["label"].to_numpy() == rows["prediction"].to_numpy()
    radius = rows["radius"].to_numpy()
    return {
        "examples": len(rows),
        "correct": int(correct.sum()),
        "eps": list(run.job.eps),
        "certified": [int(np.sum(correct & (radius > eps))) for eps in run.job.eps],
        "lipschitz_bound": run.dir.read_json(BOUNDS)["lipschitz_bound"],
        "epochs": len(history),
        "shipped_epoch": lessons.best_epoch(told, history),
        "training_seconds": round(sum(metrics["seconds"] for metrics in history), 3),
    }


def _network(run: Run) -> bytes:
    return run.dir.read(NETWORK)
