"""Whole runs through the command line, on a real Ray: how a test starts them as a user does."""

import os
import subprocess
import sys
import time

import numpy as np
import psutil

CLI = [sys.executable, "-m", "certify"]
_WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from certify.cli import main; main()"
CLI_WITHOUT_TORCH = [sys.executable, "-c", _WITHOUT_TORCH]
"""The command in a process that cannot load torch; Ray's workers can."""
SAME = (
    "attacks.parquet", "bounds.json", "certificate.json", "certificates.parquet", "model.onnx",
    "perturbations.parquet", "radius_attacks.parquet", "stretches.parquet",
)  # fmt: skip
JOB = """
name = "blobs"
[data]
source = "npz"
path = "blobs.npz"
[model]
architecture = "mlp"
widths = [16, 16]
[train]
epochs = 6
batch_size = 8
[certify]
eps = [0.1, "1/4"]
shard_size = 16
[attack]
examples = 24
audit = 1
shard_size = 4
"""


def blobs(classes=3, *, channels=1, per_class=80, side=4):
    """Images around one random image to a class; 4×4 has no square attack, which keeps it quick."""
    rng = np.random.default_rng(0)
    centres = 0.25 + 0.5 * rng.random((classes, channels, side, side))
    labels = np.repeat(np.arange(classes), per_class)
    noise = 0.05 * rng.standard_normal((len(labels), channels, side, side))
    images = np.clip(centres[labels] + noise, 0, 1).astype(np.float32)
    order = rng.permutation(len(labels))
    return images[order], labels[order]


def user_folder(made):
    """A folder with data and a job, as a user has it."""
    images, labels = blobs()
    np.savez(made / "blobs.npz", images=images, labels=labels)
    (made / "job.toml").write_text(JOB)
    return made


def start(folder, *arguments, command=CLI):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder, *arguments, command=CLI):
    process = start(folder, *arguments, command=command)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def submit(folder, run_id, *arguments, command=CLI):
    return run(folder, "submit", "job.toml", "--run", run_id, *arguments, command=command)


def artefact(folder, run_id, name):
    return folder / "runs" / run_id / name


def wait_for(condition, *, seconds=240):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise TimeoutError("what the test waits for did not happen")


def workers_of(process, task):
    """Ray's workers of a run that are busy with a task."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    found = []
    for child in children:
        try:
            if f"ray::{task}" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def assert_same(folder, run_id):
    for name in SAME:
        expected = artefact(folder, "undisturbed", name).read_bytes()
        assert artefact(folder, run_id, name).read_bytes() == expected, name
