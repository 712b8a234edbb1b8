"""The training stage of a run: an epoch at a time, resumed from the last one written down.

Beside the last state the best one is kept, where the job wants the best; all others are deleted.
`metrics.jsonl` and the files for TensorBoard grow by one line and one file an epoch.
"""

import json
import time
from typing import Any

from certify.jobs.job import JobSpec
from certify.runs.run import Run
from certify.runs.run_dir import RunDir
from models.errors import CertifyError
from models.model_spec import OnnxSpec
from models.splits import Dataset
from reports.tensorboard import event_file
from workers import lessons, training

WEIGHTS = "train/weights.safetensors"
METRICS = "train/metrics.jsonl"


def train(run: Run) -> None:
    """The weights that ship: those of the last epoch, or of the best where the job says so."""
    told = lesson_of(run.job, run.dataset)
    state, history = where_left(run.dir, told)
    with run.follow("train", total=told.train.epochs, unit="epochs") as progress:
        progress.advance(len(history))
        epochs = training.train_epochs(told, run.dataset, state=state, past=history)
        for trained, metrics in epochs:
            history = [*history, metrics]
            keep_epoch(run.dir, trained, history, best=lessons.best_epoch(told, history))
            progress.advance(note=_in_a_few_words(metrics))
    ship(run.dir, told, history)


def where_left(run_dir: RunDir, told: lessons.Lesson) -> tuple[bytes | None, list[lessons.Metrics]]:
    """The last state that was written down, None before the first, and all metrics up to it."""
    done = [epoch for epoch in range(told.train.epochs) if run_dir.has(_checkpoint(epoch))]
    if not done:
        return None, []
    return run_dir.read(_checkpoint(done[-1])), history_of(run_dir)[: done[-1] + 1]


def ship(run_dir: RunDir, told: lessons.Lesson, history: list[lessons.Metrics]) -> None:
    """The weights of the last epoch, or of the best where the job says so; no other state stays."""
    shipped = lessons.best_epoch(told, history)
    made = {"workers": told.workers, "parts": told.train.accumulate, "threads": told.threads}
    run_dir.record("trained", epochs=len(history), shipped_epoch=shipped, **made)
    run_dir.write(WEIGHTS, run_dir.read(_checkpoint(shipped)))
    _delete_all_but(run_dir, kept=set())


def history_of(run_dir: RunDir) -> list[dict[str, Any]]:
    """Metrics of every epoch that was written down; none where nothing was trained."""
    if not run_dir.has(METRICS):
        return []
    return [json.loads(line) for line in run_dir.read(METRICS).decode().splitlines()]


def lesson_of(job: JobSpec, dataset: Dataset) -> lessons.Lesson:
    """The training that a job asks for.

    Raises:
        CertifyError: If somebody else trained its model.
    """
    if isinstance(job.model, OnnxSpec):
        raise CertifyError("a foreign model is not trained")
    return lessons.lesson(
        dataset,
        model=job.model,
        train=job.train,
        seed=job.seed,
        eps=job.eps,
        resources=job.resources,
    )


def keep_epoch(run_dir: RunDir, state: bytes, history: list[dict[str, Any]], *, best: int) -> None:
    """Write down an epoch; its state comes last, so that what it speaks of is there."""
    last = len(history) - 1
    lines = [json.dumps(metrics, allow_nan=False) + "\n" for metrics in history]
    run_dir.write(METRICS, "".join(lines))
    run_dir.write(_events(last), event_file(history[-1], step=last, seconds=time.time()))
    run_dir.write(_checkpoint(last), state)
    _delete_all_but(run_dir, kept={last, best})


def _delete_all_but(run_dir: RunDir, *, kept: set[int]) -> None:
    """Delete the states that nothing needs any more."""
    names = {_checkpoint(epoch) for epoch in kept}
    for name in run_dir.names("train/epoch-*.safetensors"):
        if name not in names:
            run_dir.delete(name)


def _in_a_few_words(metrics: dict[str, Any]) -> str:
    return f"loss {metrics['loss']:.3f}, clean {metrics['clean_accuracy']:.1%} of validation"


def _checkpoint(epoch: int) -> str:
    return f"train/epoch-{epoch:05d}.safetensors"


def _events(epoch: int) -> str:
    return f"train/tensorboard/events.out.tfevents.{epoch:05d}"
