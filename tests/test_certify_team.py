"""Training on several workers: whoever dies, the weights are those of one process, to the bit."""

import os
import signal

import numpy as np
import pytest
import torch

from certify.jobs.job import check_job, load_job
from models.errors import JobError
from tests.whole_runs import artefact, blobs, start, wait_for, workers_of
from workers.data import load_data
from workers.lessons import epoch_of, lesson

EPOCHS = 80
JOB = f"""
name = "blobs"
[data]
source = "npz"
path = "blobs.npz"
[model]
architecture = "mlp"
widths = [16, 16]
[train]
epochs = {EPOCHS}
batch_size = 16
accumulate = 2
[certify]
eps = [0.1]
[attack]
examples = 4
[resources]
workers = 2
cpus_per_worker = 1
training_workers = 2
"""


def weights_of_one_process(folder):
    """What the epochs come to without Ray and without a team."""
    job = load_job(folder / "job.toml")
    dataset = load_data(job.data, seed=job.seed, folder=folder)
    told = lesson(
        dataset, model=job.model, train=job.train, seed=job.seed, eps=job.eps,
        resources=job.resources,
    )  # fmt: skip
    assert (told.workers, told.threads, torch.get_num_threads()) == (2, 1, 1)
    state = None
    for epoch in range(EPOCHS):
        state, _ = epoch_of(told, dataset.train, state, epoch, device="cpu")
    return state


def test_a_member_dies_and_then_the_driver_and_the_weights_stay_the_same(tmp_path):
    images, labels = blobs()
    np.savez(tmp_path / "blobs.npz", images=images, labels=labels)
    (tmp_path / "job.toml").write_text(JOB)

    def epochs():
        metrics = artefact(tmp_path, "hurt", "train/metrics.jsonl")
        return len(metrics.read_text().splitlines()) if metrics.exists() else 0

    process = start(tmp_path, "submit", "job.toml", "--run", "hurt")
    wait_for(lambda: epochs() >= 2 or process.poll() is not None)
    victims = workers_of(process, "RayTrainWorker")
    assert len(victims) == 2, process.poll()
    victims[1].kill()
    before = epochs()
    wait_for(lambda: epochs() > before + 3)  # a few may have been on their way
    assert epochs() < EPOCHS
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = epochs()
    process = start(tmp_path, "resume", "hurt")
    weights = artefact(tmp_path, "hurt", "train/weights.safetensors")
    wait_for(lambda: weights.exists() or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert before < EPOCHS
    assert epochs() == EPOCHS
    assert weights.read_bytes() == weights_of_one_process(tmp_path)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"resources": {"training_workers": 2}}, "found 2; .* as resources.workers, which is 1"),
        (
            {"resources": {"workers": 4, "training_workers": 3}, "train": {"accumulate": 2}},
            "found 3; accepted are at most the parts of a step, train.accumulate, which is 2",
        ),
        (
            {
                "resources": {"workers": 2, "training_workers": 2, "gpus_per_worker": 2},
                "train": {"accumulate": 2},
            },
            "accepted is 0 or 1: each trains on one",
        ),
        ({"resources": {"workers": 2, "training_workers": 0}}, "greater than 0"),
        (
            {
                "resources": {"workers": 2, "training_workers": 2},
                "model": {"architecture": "onnx", "path": "model.onnx"},
            },
            "resources.training_workers is not accepted with architecture 'onnx'",
        ),
    ],
)
def test_more_training_workers_than_can_share_a_step_are_refused(keys, words):
    with pytest.raises(JobError, match=words):
        check_job({"name": "x", **keys}, place="job")


def test_how_many_train_is_no_part_of_what_decides_a_result_and_the_parts_are():
    def job(parts, workers):
        keys = {"resources": {"workers": 4, "training_workers": workers}}
        return check_job({"name": "x", "train": {"accumulate": parts}, **keys}, place="job")

    assert job(4, 1).sha256() == job(4, 4).sha256()
    assert job(4, 1).sha256() != job(2, 1).sha256()
