"""The training stage: what it keeps, which epoch ships, when it stops, where it goes on."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from certify.jobs.job import check_job
from certify.runs.progress import Reporter
from certify.runs.run import Run
from certify.runs.run_dir import RunDir
from certify.stages import training as stage
from models.errors import CertifyError, JobError
from models.splits import Dataset, Split
from workers import training

KEPT = {"metrics.jsonl", "tensorboard", "weights.safetensors"}


@pytest.fixture(autouse=True)
def _tasks_run_here(monkeypatch):
    monkeypatch.setattr(training, "remote", lambda task, **_: SimpleNamespace(remote=task))
    monkeypatch.setattr(training, "share", lambda value: value)
    monkeypatch.setattr(training, "result", lambda value: value)


def a_part(examples, *, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(examples) % 3
    images = 0.3 + 0.2 * np.eye(3)[labels].repeat(3, axis=1).reshape(-1, 1, 3, 3)
    images = (images + 0.2 * rng.standard_normal(images.shape)).clip(0, 1).astype(np.float32)
    return Split(images, labels, np.arange(examples))


DATASET = Dataset(a_part(60, seed=0), a_part(48, seed=1), a_part(12, seed=2), ("a", "b", "c"))


def a_run(folder, **train):
    told = {"epochs": 5, "batch_size": 12, **train}
    model = {"architecture": "mlp", "widths": [8]}
    keys = {"name": "x", "model": model, "train": told, "certify": {"eps": [0.05, 0.2]}}
    run_dir = RunDir(folder, "x")
    run_dir.create()
    return Run(check_job(keys, place="job"), DATASET, run_dir, Reporter(Console(quiet=True)))


def names(run):
    return {path.name for path in run.dir.at("train").iterdir()}


def test_the_last_epoch_ships_and_every_epoch_has_its_line(tmp_path):
    run = a_run(tmp_path)
    stage.train(run)
    assert names(run) == KEPT
    history = stage.history_of(run.dir)
    assert [metrics["epoch"] for metrics in history] == [0, 1, 2, 3, 4]
    for metrics in history:
        assert metrics["examples_per_second"] > 0
        assert len(metrics["estimated_certified_accuracy"]) == 2
        assert {"loss", "clean_accuracy", "drift", "learning_rate"} <= set(metrics)
    assert len(list(run.dir.at("train/tensorboard").iterdir())) == 5


def scripted(monkeypatch, accuracies):
    """Epochs that end with given certified accuracies at ε = 0.2; each number is its own state."""
    calls = []

    def epoch_task(_told, _train, _validation, state, epoch):
        calls.append((state, epoch))
        metrics = {"epoch": epoch, "loss": 1.0, "clean_accuracy": 0.9}
        return b"%d" % epoch, metrics | {"estimated_certified_accuracy": [0.9, accuracies[epoch]]}

    monkeypatch.setattr(training, "_train_epoch", epoch_task)
    return calls


def test_the_best_epoch_ships_the_first_of_equals(tmp_path, monkeypatch):
    scripted(monkeypatch, [0.1, 0.5, 0.3, 0.5, 0.4])
    run = a_run(tmp_path, best={"eps": 0.2})
    stage.train(run)
    assert run.dir.read(stage.WEIGHTS) == b"1"
    assert names(run) == KEPT
    event = json.loads(run.dir.read("events.jsonl").splitlines()[-1])
    assert (event["event"], event["epochs"], event["shipped_epoch"]) == ("trained", 5, 1)


def test_training_stops_when_patience_is_out(tmp_path, monkeypatch):
    calls = scripted(monkeypatch, [0.1, 0.5, 0.3, 0.5, 0.9])
    run = a_run(tmp_path, best={"eps": 0.2, "patience": 2})
    stage.train(run)
    assert [epoch for _, epoch in calls] == [0, 1, 2, 3]
    assert run.dir.read(stage.WEIGHTS) == b"1"


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("where", ["metrics.jsonl", "tensorboard", "epoch-"])
def test_a_run_that_was_cut_off_ships_the_same_epoch(tmp_path, monkeypatch, stop, where):
    accuracies = [0.1, 0.5, 0.3, 0.4, 0.5]
    calls = scripted(monkeypatch, accuracies)
    run = a_run(tmp_path, best={"eps": 0.2})
    plain = RunDir.write
    left = {"writes": stop + 1}

    def failing(self, name, content):
        plain(self, name, content)
        if where in name:
            left["writes"] -= 1
            if left["writes"] == 0:
                raise CertifyError("cut off")

    monkeypatch.setattr(RunDir, "write", failing)
    with pytest.raises(CertifyError, match="cut off"):
        stage.train(run)
    monkeypatch.setattr(RunDir, "write", plain)
    written = stop + (where == "epoch-")
    del calls[:]
    stage.train(run)
    assert calls == [(b"%d" % (epoch - 1) if epoch else None, epoch) for epoch in range(written, 5)]
    assert run.dir.read(stage.WEIGHTS) == b"1"
    assert names(run) == KEPT
    assert len(stage.history_of(run.dir)) == 5


def test_what_diverges_is_named_and_the_last_good_state_stays(tmp_path, monkeypatch):
    run = a_run(tmp_path, learning_rate=1e-3)
    task = training._train_epoch

    def diverging(told, train, validation, state, epoch):
        if epoch == 2:
            faster = told.train.model_copy(update={"learning_rate": 1e6})
            told = SimpleNamespace(**{**vars(told), "train": faster})
        return task(told, train, validation, state, epoch)

    monkeypatch.setattr(training, "_train_epoch", diverging)
    with pytest.raises(CertifyError, match=r"epoch 2, step \d: .*lower train.learning_rate"):
        stage.train(run)
    assert "epoch-00001.safetensors" in names(run)
    assert len(stage.history_of(run.dir)) == 2


@pytest.mark.parametrize("key", ["certify", "train"])
def test_an_epsilon_beyond_every_radius_is_refused_before_the_first_epoch(tmp_path, key):
    run = a_run(tmp_path)
    keys = {"name": "x", "certify": {"eps": [0.1]}}
    keys[key] = {"eps": [1.6]} if key == "certify" else {"for_eps": 1.6}
    job = check_job(keys, place="job")
    with pytest.raises(JobError, match=r"ε = 1.6 is beyond any radius.*is less than 1\.\d"):
        stage.train(Run(job, run.dataset, run.dir, run.reporter))
    assert not run.dir.at("train").exists()
