"""Whole runs, as a user starts them: what they leave, what they refuse, what rings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests.whole_runs import JOB, artefact, blobs, run, submit


def test_a_run_ends_with_every_artefact_and_an_honest_summary(folder, undisturbed):
    expected = {
        "attacks.parquet", "bounds.json", "certificate.json", "certificates.parquet", "data.json",
        "environment.json", "events.jsonl", "job.json", "job.toml", "masking.json", "model.onnx",
        "network.onnx", "origin.json", "perturbations.parquet", "pictures.parquet",
        "radius_attacks.parquet", "report.html", "seconds.json", "soundness.json", "state.json",
        "stretches.parquet", "summary.json", "train",
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
    made_with = json.loads(artefact(folder, "undisturbed", "environment.json").read_text())
    assert made_with["packages"]["certify-robustness"]
    assert made_with["begun"] in artefact(folder, "undisturbed", "report.html").read_text()


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


def tampered(folder, run_id, *, factor):
    """A run whose bounds were made smaller after they were proved."""
    shutil.copytree(artefact(folder, "undisturbed", ""), artefact(folder, run_id, ""))
    for name in ("certificates.parquet", "attacks.parquet", "radius_attacks.parquet",
                 "masking.json", "perturbations.parquet", "stretches.parquet", "soundness.json",
                 "model.onnx",
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


def test_a_run_that_is_submitted_again_ends_with_the_same_page(folder, undisturbed):
    shutil.copytree(artefact(folder, "undisturbed", ""), artefact(folder, "again", ""))
    pages = []
    for _ in range(2):
        status, _, err = submit(folder, "again")
        assert status == 0, err
        pages.append(artefact(folder, "again", "report.html").read_bytes())
    assert pages[0] == pages[1]
    assert b"again" in pages[0]


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


ABSENT = {
    "gpus_per_worker=4096": "GPUs asked for are 4096; this machine has",
    "workers=100000": "found 100000 workers with 100000 processors; accepted on this machine",
    "cpus_per_worker=9999": "found 1 workers with 9999 processors; accepted on this machine",
    "memory_per_worker=1e7": "found 1e+07 GB of memory for all workers; this machine has",
}


@pytest.mark.parametrize("asked", ABSENT)
@pytest.mark.parametrize("rehearsed", [True, False])
def test_what_this_machine_does_not_have_is_refused_before_anything_begins(
    folder, asked, rehearsed
):
    options = ["--set", f"resources.{asked}", *(["--dry-run"] if rehearsed else [])]
    status, _, err = submit(folder, "absent", *options)
    assert status == 2
    assert err == f"error: resources: {ABSENT[asked]}" + err.split(ABSENT[asked])[1]
    assert len(err.splitlines()) == 1
    assert not artefact(folder, "absent", "").exists()


def test_a_dry_run_looks_at_data_and_model_and_writes_nothing(folder):
    before = sorted(path.name for path in folder.iterdir())
    status, out, err = run(folder, "submit", "job.toml", "--dry-run")
    assert status == 0, err
    assert "forward pass of the mlp works" in out
    assert sorted(path.name for path in folder.iterdir()) == before
