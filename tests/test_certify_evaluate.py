"""`certify evaluate`: a model that was trained elsewhere, certified, attacked, sealed, reported."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from onnx import helper

from certify.cli import main
from certify.jobs.job import load_job
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests.oracles import onnx_file
from tests.whole_runs import blobs

node = helper.make_node
MEAN, STD = (0.5,), (0.25,)
SAME = ("network.onnx", "bounds.json", "certificates.parquet", "attacks.parquet",
        "certificate.json", "model.onnx")  # fmt: skip


def theirs(*, softmax=True, classes=3, side=4, channels=1):
    """An MLP of normalised pixels that tells the blobs apart: its first layer holds their means."""
    images, labels = blobs(classes=classes, side=side, channels=channels)
    flat = ((images - 0.5) / 0.25).reshape(len(images), -1)
    means = np.stack([flat[labels == c].mean(axis=0) for c in range(classes)])
    means = (means - means.mean(axis=0)).astype(np.float32)
    rng = np.random.default_rng(0)
    nodes = [
        node("Flatten", ["pixels"], ["radius"], name="label"),  # names that sealing adds
        node("Gemm", ["radius", "W", "b"], ["certificate/x"], transB=1, name="body"),
        node("Relu", ["certificate/x"], ["r"], name="relu"),
        node("Gemm", ["r", "V"], ["z"], transB=1, name="head"),
        node("Neg", ["z"], ["dead"], name="dead"),
    ]
    outputs = ("z",)
    if softmax:
        nodes.append(node("Softmax", ["z"], ["logits"], axis=1))
        outputs = ("logits",)
    weights = {
        "W": np.concatenate([means, -means]),
        "b": 0.01 * rng.standard_normal(2 * classes).astype(np.float32),
        "V": np.concatenate([np.eye(classes), -np.eye(classes)], axis=1).astype(np.float32),
    }
    content = onnx_file(
        nodes, shape=(channels, side, side), weights=weights, outputs=outputs
    )  # fmt: skip
    model = onnx.load_from_string(content)
    model.graph.input[0].name = "pixels"
    model.doc_string = "made in /secret/place"
    model.metadata_props.add(key="path", value="/secret/place")
    model.graph.node[1].doc_string = "/secret/place"
    return model


def split_file(path, model):
    onnx.save(
        model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("user")
    images, labels = blobs(per_class=20)
    np.savez(made / "blobs.npz", images=images, labels=labels)
    np.savez(made / "tests.npz", x_test=images, y_test=labels)
    images, labels = blobs(per_class=4, side=5)
    np.savez(made / "large.npz", images=images, labels=labels)
    split_file(made / "theirs.onnx", theirs())
    (made / "plain.onnx").write_bytes(theirs(softmax=False).SerializeToString())
    return made


OPTIONS = ["--data", "blobs.npz", "--mean", "0.5", "--std", "0.25", "--eps", "0.1", "--eps", "1/4",
           "--examples", "12"]  # fmt: skip


def run(folder, *arguments):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "certify", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def certify(monkeypatch, capsys):
    """A command that starts no run, in this process: status, stdout, stderr."""

    def invoke(folder, *arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["certify", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return invoke


@pytest.fixture(scope="module")
def evaluated(folder):
    status, out, err = run(
        folder, "evaluate", "theirs.onnx", *OPTIONS, "--run", "first", "--json"
    )  # fmt: skip
    assert status == 0, err
    return json.loads(out)


def artefact(folder, name, *, run_id="first"):
    return folder / "runs" / run_id / name


def test_a_run_certifies_every_image_and_ends_with_every_artefact(folder, evaluated):
    assert evaluated["verdict"] == "passed"
    assert evaluated["test_examples"] == 60  # all of them: nothing is trained on
    assert evaluated["attacked_examples"] == 12
    assert evaluated["clean_accuracy"] > 0.9
    assert evaluated["certified_accuracy"][0] > 0.5
    assert set(evaluated["seconds"]) == {
        "import", "prove", "certify", "attack", "search", "stretch", "masking", "check", "seal"
    }  # fmt: skip
    assert not artefact(folder, "train").exists()
    found = json.loads(artefact(folder, "import.json").read_text())
    assert found["left_out"] == ["Softmax"]
    assert found["largest_logit_difference"] is None
    job = json.loads(artefact(folder, "job.json").read_text())
    assert job["model"]["sha256"] == found["sha256"]
    assert "train" not in job
    certificate = json.loads(artefact(folder, "certificate.json").read_text())
    assert certificate["source_sha256"] == found["sha256"]


def test_the_bound_holds_the_factor_of_the_preprocessing(folder, evaluated):
    """Exactly the norm of the linear pieces, by an SVD, times 1/min(std)."""
    model = theirs()
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(float) for t in model.graph.initializer}
    expected = np.linalg.norm(weights["V"], 2) * np.linalg.norm(weights["W"], 2) / STD[0]
    assert evaluated["lipschitz_bound"] == pytest.approx(expected, rel=1e-6)
    assert evaluated["lipschitz_bound"] >= expected


def test_the_sealed_file_takes_pixels_and_gives_the_answers_of_the_foreign_one(folder, evaluated):
    images = np.load(folder / "blobs.npz")["images"]
    sealed = artefact(folder, "model.onnx").read_bytes()
    found = run_onnx(sealed, images)
    expected = run_onnx(theirs().SerializeToString(), (images - 0.5) / np.float32(0.25))["logits"]
    assert (found["label"] == expected.argmax(axis=1)).all()
    odds = np.exp(found["logits"]) / np.exp(found["logits"]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(odds, expected, atol=1e-5)
    table = pq.read_table(artefact(folder, "certificates.parquet"))
    assert (found["radius"] <= table["radius"].to_numpy()).all()
    assert (found["radius_float32"] > 0).any()
    assert b"/secret/place" not in sealed
    assert b"dead" not in sealed


def test_the_report_speaks_of_a_foreign_file_and_of_no_training(folder, evaluated):
    page = artefact(folder, "report.html").read_text()
    assert "a foreign ONNX file, which was trained elsewhere" in page
    assert "(mean 0.5 and std 0.25) is part of what was certified" in page
    assert "<h3>Training</h3>" not in page
    assert "Foreign file, SHA-256" in page
    assert "epochs" not in page


def test_the_same_command_gives_the_same_bytes_and_a_run_that_was_cut_off_goes_on(
    folder, evaluated
):
    shutil.copytree(artefact(folder, ""), artefact(folder, "", run_id="again"))
    for name in (*SAME, "soundness.json", "summary.json", "report.html", "import.json"):
        artefact(folder, name, run_id="again").unlink()
    status, _, err = run(folder, "evaluate", "theirs.onnx", *OPTIONS, "--run", "again")
    assert status == 0, err
    for name in SAME:
        expected = artefact(folder, name).read_bytes()
        assert artefact(folder, name, run_id="again").read_bytes() == expected, name


def test_the_job_file_of_the_run_is_the_job(folder, evaluated):
    written = load_job(artefact(folder, "job.toml"))
    stored = json.loads(artefact(folder, "job.json").read_text())
    assert written.with_model_hash(stored["model"]["sha256"]).resolved() == stored


def test_a_job_file_that_names_a_foreign_model_is_submitted(folder, evaluated, certify):
    text = artefact(folder, "job.toml").read_text()
    (folder / "job.toml").write_text(text)
    status, out, _ = certify(folder, "submit", "job.toml", "--dry-run")
    assert status == 0
    assert "60 test images of 1×4×4 in 3 classes; every operator of the model has a rule" in out
    assert "certified is what its Softmax reads" in out
    status, _, err = certify(
        folder, "submit", "job.toml", "--dry-run", "--set", "train.epochs=3"
    )  # fmt: skip
    assert status == 2
    assert "train is not accepted with architecture 'onnx'" in err


def test_a_dry_run_writes_nothing_and_test_images_alone_are_enough(folder, certify):
    before = sorted(path.name for path in folder.iterdir())
    options = ["--data", "tests.npz", "--mean", "0.5", "--std", "0.25", "--classes", "a,b,c"]
    status, out, _ = certify(folder, "evaluate", "plain.onnx", *options, "--dry-run")
    assert status == 0
    assert "plain.onnx: in order; 60 test images" in out
    assert sorted(path.name for path in folder.iterdir()) == before


def unknown_operators():
    nodes = [
        node("Exp", ["x"], ["a"], name="wave"),
        node("Round", ["a"], ["b"], name="bell"),
        node("Flatten", ["b"], ["logits"]),
    ]
    return onnx_file(nodes, shape=(1, 4, 4))


REFUSED = {
    "a model that is not there": (["none.onnx"], "none.onnx: No such file"),
    "unknown operators, all at once": (["unknown.onnx"], "wave (Exp), bell (Round)"),
    "weights that are gone": (["orphan.onnx"], "found no file 'theirs.onnx.data'"),
    "data that is not there": (["plain.onnx", "--data", "none.npz"], "none.npz: found nothing"),
    "images of another shape": (
        ["plain.onnx", "--data", "large.npz"],
        "examples of shape [1, 4, 4]; accepted for this data is [1, 5, 5]",
    ),
    "other classes": (["two.onnx"], "found the label 2; accepted are the 2 classes"),
    "too few names": (["plain.onnx", "--classes", "a,b"], "found 2 different names of classes for"),
    "numbers of other channels": (["plain.onnx", "--std", "1,1,1"], "found 3 numbers as std"),
    "a word as number": (["plain.onnx", "--mean", "half"], "--mean: found 'half'"),
    "a divisor of 0": (["plain.onnx", "--std", "0"], "model.std.0: found 0.0"),
    "an infinite mean": (["plain.onnx", "--mean", "inf"], "model.mean.0: found inf"),
    "a budget of 0": (["plain.onnx", "--eps", "0"], "certify.eps.0: found '0'"),
    "an unknown source": (["plain.onnx", "--source", "jpeg"], "data.source: found 'jpeg'"),
    "a path as id": (["plain.onnx", "--run", "../x"], "run id"),
    "another model under the id": (["plain.onnx", "--run", "first"], "exists with another job"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_accepted_is_refused_in_one_line_before_anything_is_written(
    name, folder, evaluated, certify, tmp_path
):
    arguments, words = REFUSED[name]
    (folder / "unknown.onnx").write_bytes(unknown_operators())
    (folder / "two.onnx").write_bytes(theirs(softmax=False, classes=2).SerializeToString())
    (folder / "elsewhere").mkdir(exist_ok=True)
    shutil.copy(folder / "theirs.onnx", folder / "elsewhere" / "orphan.onnx")
    if arguments[0] == "orphan.onnx":
        arguments = ["elsewhere/orphan.onnx"]
    if "--data" not in arguments:
        arguments = [*arguments, "--data", "blobs.npz"]
    before = sorted(folder.rglob("*"))
    status, out, err = certify(folder, "evaluate", *arguments)
    assert (status, out) == (2, ""), err
    assert words in err
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert sorted(folder.rglob("*")) == before


def test_a_pinned_hash_refuses_another_file(folder, evaluated, certify):
    text = artefact(folder, "job.toml").read_text()
    (folder / "pinned.toml").write_text(text.replace("[model]", f'[model]\nsha256 = "{"0" * 64}"'))
    status, _, err = certify(folder, "submit", "pinned.toml", "--dry-run")
    assert status == 2
    assert f"accepted is {'0' * 64}" in err


def test_the_job_hash_follows_the_file_and_not_its_place(folder):
    job = load_job_of(folder, "plain.onnx")
    assert job.with_model_hash("1" * 64).sha256() != job.with_model_hash("2" * 64).sha256()
    moved = load_job_of(folder, "elsewhere.onnx")
    assert job.with_model_hash("1" * 64).sha256() == moved.with_model_hash("1" * 64).sha256()


def load_job_of(folder, path):
    (folder / "hash.toml").write_text(
        f'name = "x"\n[model]\narchitecture = "onnx"\npath = "{path}"'
    )
    return load_job(folder / "hash.toml")


def test_the_network_of_the_run_is_read_as_the_same_program(folder, evaluated):
    network = read_program(artefact(folder, "network.onnx").read_bytes())
    assert [operator.kind for operator in network.operators[:2]] == ["Sub", "Div"]
    assert network.operators[-1].result == "logits"
    assert network.ending == ()
