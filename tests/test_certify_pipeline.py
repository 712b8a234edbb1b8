"""Whole runs through the command line, on a real Ray: as a user starts, stops and breaks them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx

CLI = [sys.executable, "-m", "certify"]
SAME = (
    "attacks.parquet", "bounds.json", "certificate.json", "certificates.parquet", "model.onnx",
    "radius_attacks.parquet",
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("user")
    images, labels = blobs()
    np.savez(made / "blobs.npz", images=images, labels=labels)
    (made / "job.toml").write_text(JOB)
    return made


def start(folder, *arguments):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.Popen(
        [*CLI, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder, *arguments):
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def submit(folder, run_id, *arguments):
    return run(folder, "submit", "job.toml", "--run", run_id, *arguments)


def artefact(folder, run_id, name):
    return folder / "runs" / run_id / name


def wait_for(condition, *, seconds=120):
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


@pytest.fixture(scope="module")
def undisturbed(folder):
    status, out, err = submit(folder, "undisturbed", "--json")
    assert status == 0, err
    return json.loads(out)


def assert_same(folder, run_id):
    for name in SAME:
        expected = artefact(folder, "undisturbed", name).read_bytes()
        assert artefact(folder, run_id, name).read_bytes() == expected, name


def test_a_run_ends_with_every_artefact_and_an_honest_summary(folder, undisturbed):
    expected = {
        "attacks.parquet", "bounds.json", "certificate.json", "certificates.parquet", "data.json",
        "environment.json", "events.jsonl", "job.json", "job.toml", "model.onnx", "network.onnx",
        "pictures.parquet", "radius_attacks.parquet", "report.html", "seconds.json",
        "soundness.json", "state.json", "summary.json", "train",
    }  # fmt: skip
    found = {path.name for path in artefact(folder, "undisturbed", "").iterdir()}
    assert found - {".lock"} == expected
    assert undisturbed["verdict"] == "passed"
    assert undisturbed["violations"] == 0
    assert undisturbed["attacked_examples"] == 24
    assert undisturbed["clean_accuracy"] > 0.9
    orders = zip(
        undisturbed["certified_accuracy_attacked"], undisturbed["robust_accuracy"], strict=True
    )
    assert all(c <= r <= undisturbed["clean_accuracy_attacked"] for c, r in orders)
    assert set(undisturbed["seconds"]) >= {"train", "export", "prove", "certify", "attack", "seal"}
    state = json.loads(artefact(folder, "undisturbed", "state.json").read_text())
    assert (state["status"], state["verdict"]) == ("SUCCEEDED", "passed")
    assert artefact(folder, "undisturbed", "job.toml").read_text() == JOB


def test_the_sealed_file_gives_the_radii_of_the_table_in_plain_onnx_runtime(folder, undisturbed):
    table = pq.read_table(artefact(folder, "undisturbed", "certificates.parquet"))
    model = artefact(folder, "undisturbed", "model.onnx").read_bytes()
    images = np.load(folder / "blobs.npz")["images"][table["index"].to_numpy()]
    outputs = run_onnx(model, images)
    radii = table["radius"].to_numpy()
    assert (outputs["radius"] <= radii).all()
    np.testing.assert_allclose(outputs["radius"], radii, atol=1e-5, rtol=0)
    assert (outputs["label"] == table["prediction"].to_numpy()).all()
    certificate = json.loads(artefact(folder, "undisturbed", "certificate.json").read_text())
    assert read_program(model).sha256 == certificate["program_sha256"]
    assert str(folder).encode() not in model


def test_another_number_of_workers_gives_the_same_bytes(folder, undisturbed):
    status, _, err = submit(folder, "two", "--set", "resources.workers=2")
    assert status == 0, err
    assert_same(folder, "two")


def test_ctrl_c_in_the_attack_and_the_same_command_again(folder, undisturbed):
    process = start(folder, "submit", "job.toml", "--run", "stopped")
    shards = artefact(folder, "stopped", "attacks")
    first = wait_for(lambda: sorted(shards.glob("*.parquet")))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert "--run stopped" in err
    assert "Traceback" not in err
    state = json.loads(artefact(folder, "stopped", "state.json").read_text())
    assert (state["status"], state["stage"], state["verdict"]) == (
        "STOPPED",
        "attack",
        "incomplete",
    )
    assert 0 < state["progress"]["done"] < state["progress"]["total"] == 72
    written = first[0].stat().st_mtime_ns
    process = start(folder, "submit", "job.toml", "--run", "stopped")
    wait_for(lambda: len(list(shards.glob("*.parquet"))) > len(first) or process.poll() is not None)
    if first[0].exists():
        assert first[0].stat().st_mtime_ns == written  # not attacked again
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert_same(folder, "stopped")


def test_killed_workers_in_training_and_attack_change_nothing(folder, undisturbed):
    process = start(folder, "submit", "job.toml", "--run", "killed")
    for task in ("_train_epoch", "attack_at"):
        victim = wait_for(lambda task=task: workers_of(process, task))[0]
        victim.send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert_same(folder, "killed")


def test_a_driver_that_is_killed_in_training_goes_on_from_its_last_epoch(folder, undisturbed):
    process = start(folder, "submit", "job.toml", "--run", "dead")
    wait_for(lambda: list(artefact(folder, "dead", "train").glob("epoch-*.safetensors")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    status, _, err = submit(folder, "dead")
    assert status == 0, err
    assert_same(folder, "dead")


def tampered(folder, run_id, *, factor):
    """A run whose bounds were made smaller after they were proved."""
    shutil.copytree(artefact(folder, "undisturbed", ""), artefact(folder, run_id, ""))
    for name in ("certificates.parquet", "attacks.parquet", "radius_attacks.parquet",
                 "soundness.json", "model.onnx",
                 "certificate.json", "summary.json", "report.html"):  # fmt: skip
        artefact(folder, run_id, name).unlink()
    path = artefact(folder, run_id, "bounds.json")
    bounds = json.loads(path.read_text())
    bounds["pair_bounds"] = (factor * np.array(bounds["pair_bounds"])).tolist()
    path.write_text(json.dumps(bounds))


def test_alarm_a_bound_that_is_too_small_ends_as_refuted(folder, undisturbed):
    tampered(folder, "false", factor=0.2)
    status, out, err = submit(folder, "false")
    assert status == 4, err
    assert "REFUTED" in out
    soundness = json.loads(artefact(folder, "false", "soundness.json").read_text())
    assert soundness["violations"] > 0
    broken = np.load(artefact(folder, "false", "counterexample.npz"))
    distance = np.linalg.norm(broken["attacked"].astype(float) - broken["original"])
    assert distance < broken["radius"]
    status, out, err = run(folder, "replay", "runs/false/counterexample.npz", "--json")
    assert status == 4, err
    shown = json.loads(out)
    assert shown["broken"]
    assert shown["distance"] < shown["radius"]
    assert shown["attacked_class"] != shown["certified"]
    assert not artefact(folder, "false", "model.onnx").exists()
    assert "refuted" in artefact(folder, "false", "report.html").read_text().lower()
    state = json.loads(artefact(folder, "false", "state.json").read_text())
    assert (state["status"], state["verdict"]) == ("FAILED", "refuted")
    assert "inside its certified radius" in state["reason"]


def test_alarm_a_network_changed_after_its_bound_is_refused(folder, undisturbed):
    tampered(folder, "swapped", factor=1)
    network = artefact(folder, "swapped", "network.onnx")
    content = bytearray(network.read_bytes())
    weights = content.index(b"raw") if b"raw" in content else len(content) // 2
    content[weights] ^= 1
    network.write_bytes(bytes(content))
    status, _, err = submit(folder, "swapped")
    assert status in (2, 7), err
    assert "Traceback" not in err
    assert not artefact(folder, "swapped", "certificates.parquet").exists()


def test_a_gate_that_fails_ends_with_its_status_after_the_report(folder, undisturbed):
    shutil.copytree(artefact(folder, "undisturbed", ""), artefact(folder, "gated", ""))
    artefact(folder, "gated", "report.html").unlink()
    status, out, err = submit(folder, "gated", "--set", 'gates=["clean_accuracy > 1"]')
    assert status == 3, err
    assert "FAILS" in out
    assert artefact(folder, "gated", "report.html").exists()


def test_the_report_is_made_again_from_the_artefacts_alone(folder, undisturbed, tmp_path):
    shutil.copytree(folder / "runs" / "undisturbed", tmp_path / "runs" / "moved")
    page = tmp_path / "runs" / "moved" / "report.html"
    before = page.read_bytes()
    page.unlink()
    status, out, err = run(tmp_path, "report", "moved")
    assert status == 0, err
    assert Path(out.strip()).name == "report.html"
    assert page.read_bytes() == before


REFUSED = {
    "another job under the id": (["--run", "undisturbed", "--set", "seed=1"], "another job"),
    "a path as id": (["--run", "../x"], "run id"),
    "data that is not there": (["--set", "data.path=none.npz"], "none.npz"),
    "an unknown key": (["--set", "train.epoch=3"], "train.epoch"),
    "a folder that cannot be written": (["--runs", "job.toml"], "cannot be written"),
    "an empty test part": (["--set", "data.path=few.npz"], "class"),
    "pixels outside": (["--set", "data.path=bright.npz"], "bright.npz"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_accepted_is_refused_in_one_line_before_anything_is_written(
    name, folder, undisturbed
):
    arguments, message = REFUSED[name]
    images, labels = blobs()
    np.savez(folder / "few.npz", images=images[:1], labels=labels[:1])
    np.savez(folder / "bright.npz", images=images + 1, labels=labels)
    before = sorted(path.name for path in (folder / "runs").iterdir())
    status, out, err = run(folder, "submit", "job.toml", *arguments)
    assert status == 2, err
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert sorted(path.name for path in (folder / "runs").iterdir()) == before


def test_gpus_that_are_not_there_are_refused(folder):
    status, _, err = submit(folder, "gpu", "--set", "resources.gpus_per_worker=1")
    if "GPUs are asked for" not in err:
        pytest.skip("this machine has a GPU")
    assert status == 6


def test_a_dry_run_looks_at_data_and_model_and_writes_nothing(folder):
    before = sorted(path.name for path in folder.iterdir())
    status, out, err = run(folder, "submit", "job.toml", "--dry-run")
    assert status == 0, err
    assert "forward pass of the mlp works" in out
    assert sorted(path.name for path in folder.iterdir()) == before
