"""`certify verify`: an honest run holds, and every way to tamper with one is named."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import numpy_helper

from certify.cli import main
from tests.test_certify_pipeline import JOB, blobs

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited")
    images, labels = blobs()
    np.savez(folder / "blobs.npz", images=images, labels=labels)
    job = JOB.replace("epochs = 6", "epochs = 2").replace("examples = 24", "examples = 1")
    (folder / "job.toml").write_text(job)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, "-m", "certify", "submit", "job.toml", "--run", "a"]
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made / "runs" / "a", tmp_path / "a")


@pytest.fixture
def verify(made, monkeypatch, capsys):
    def call(*arguments, data=made / "blobs.npz"):
        given = ["--data", str(data)] if data else []
        monkeypatch.setattr(sys, "argv", ["certify", "verify", *map(str, arguments), *given])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return ended.value.code, out, err

    return call


def edit_json(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def rehash(run):
    def change(certificate):
        for key, name in (
            ("model_sha256", "model.onnx"),
            ("certificates_sha256", "certificates.parquet"),
            ("bounds_sha256", "bounds.json"),
        ):
            certificate[key] = hashlib.sha256((run / name).read_bytes()).hexdigest()

    edit_json(run / "certificate.json", change)


def edit_table(run, column, change):
    path = run / "certificates.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(column)
    values = change(table[column].to_numpy().copy())
    kept = table.schema.field(column)
    table = table.set_column(place, kept, pa.array(values, kept.type))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    path.write_bytes(buffer.getvalue())


def edit_model(run, change):
    path = run / "model.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = change(tensor.name, numpy_helper.to_array(tensor))
        if values is not None:
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)


def recount(run):
    rows = pq.read_table(run / "certificates.parquet").to_pandas()
    correct = rows["label"] == rows["prediction"]

    def change(certificate):
        for count in certificate["counts"]:
            count["correct"] = int(correct.sum())
            for key, column in (("certified", "radius"), ("certified_float32", "radius_float32")):
                count[key] = int((correct & (rows[column] > count["eps"])).sum())

    edit_json(run / "certificate.json", change)


def test_an_honest_run_holds(verify, run):
    status, out, err = verify(run, "--json")
    assert status == 0, err
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    confirmed, _, total = checks["radii"]["figure"].split()[:3]
    assert confirmed == total


def test_a_sample_and_no_data_are_said(verify, run):
    assert verify(run / "certificate.json", "--sample", 5)[0] == 0
    status, out, _ = verify(run, data=None)
    assert status == 0
    assert "the data was not found" in out
    assert "as far as it was checked" in out


def test_the_data_of_the_job_is_found_from_its_folder(verify, run, made, monkeypatch):
    monkeypatch.chdir(made)
    status, out, err = verify(run, "--json", data=None)
    assert status == 0, err
    assert "radii" in {check["name"] for check in json.loads(out)["checks"]}
    edit_table(run, "radius", lambda radii: np.where(radii == radii.max(), 1.01 * radii, radii))
    rehash(run)
    recount(run)
    status, _, err = verify(run, data=None)
    assert (status, "radii: example" in err) == (7, True)


def test_bad_arguments_are_no_verdict(verify, tmp_path, run):
    assert verify(tmp_path / "none")[0] == 2
    (tmp_path / "bad.npz").write_text("no")
    assert verify(run, data=tmp_path / "bad.npz")[0] == 2


def raise_a_radius(run):
    def change(radii):
        radii[radii.argmax()] *= 1 + 1e-6
        return radii

    edit_table(run, "radius", change)
    rehash(run)


def raise_a_float32_radius(run):
    def change(radii):
        radii[radii.argmax()] *= 1 + 1e-6
        return radii

    edit_table(run, "radius_float32", change)
    rehash(run)


def forget_a_float32_radius(run):
    edit_table(run, "radius_float32", lambda radii: np.full_like(radii, np.nan))
    rehash(run)
    recount(run)


def understate_a_float32_radius(run):
    edit_table(run, "radius_float32", lambda radii: radii * 0.01)
    rehash(run)
    recount(run)


def change_a_weight(run):
    edit_model(run, lambda name, w: w * np.float32(1.01) if name == "gemm_2.weight" else None)
    rehash(run)


def lower_a_pair(run):
    for name in ("bounds.json", "certificate.json"):
        edit_json(run / name, lambda found: found["pair_bounds"][0].__setitem__(1, 0.1))
    rehash(run)


def change_the_proof(run):
    edit_json(run / "bounds.json", lambda found: found["float32"]["slope"][0].__setitem__(1, 9.0))


def forget_the_float32_errors(run):
    for key in ("constant", "slope"):
        edit_json(
            run / "bounds.json",
            lambda found, key=key: found["float32"].update({key: [[0.0] * 3] * 3}),
        )
    rehash(run)


def change_a_count(run):
    edit_json(run / "certificate.json", lambda f: f["counts"][0].__setitem__("certified", 10**6))


def change_a_hash(run):
    edit_json(run / "certificate.json", lambda found: found.update(model_sha256="0" * 64))


def truncate_the_table(run):
    path = run / "certificates.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    rehash(run)


def remove_the_bounds(run):
    (run / "bounds.json").unlink()


def lower_a_table_of_the_file(run):
    edit_model(run, lambda name, w: w * np.float32(0.9) if name == "certificate/L" else None)
    rehash(run)


def swap_a_prediction(run):
    edit_table(run, "prediction", lambda found: (found + 1) % 3)
    rehash(run)
    recount(run)


def leave_out_the_counts(run):
    edit_json(run / "certificate.json", lambda found: found.update(counts=[]))


def misshape_the_pairs(run):
    for name in ("bounds.json", "certificate.json"):
        edit_json(run / name, lambda found: found["pair_bounds"][0].append(1.0))
    rehash(run)


def scale_every_pair_by_seven_tenths(run):
    for name in ("bounds.json", "certificate.json"):
        edit_json(
            run / name,
            lambda f: f.update(pair_bounds=(0.7 * np.array(f["pair_bounds"])).tolist()),
        )
    edit_table(run, "radius", lambda radii: radii / 0.7)
    scaled = ("certificate/L", "certificate/C")
    edit_model(run, lambda name, w: w * np.float32(0.7) if name in scaled else None)
    rehash(run)
    recount(run)


def forget_a_key(run):
    for name in ("bounds.json", "certificate.json"):
        edit_json(run / name, lambda found: found.pop("feature_bound"))
    rehash(run)


def change_the_job(run):
    edit_json(run / "job.json", lambda found: found.update(seed=77))


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (raise_a_radius, "radii: example"),
        (raise_a_float32_radius, "has radius_float32"),
        (forget_a_float32_radius, "has radius_float32 nan"),
        (understate_a_float32_radius, "gives a larger radius_float32"),
        (change_a_weight, "bounds: factor of gemm_2"),
        (lower_a_pair, "bounds: pair bound of classes 0 and 1"),
        (change_a_count, "files: counts"),
        (change_a_hash, "files: SHA-256 of model"),
        (truncate_the_table, "files: certificates.parquet is no Parquet"),
        (remove_the_bounds, "files: bounds.json"),
        (lower_a_table_of_the_file, "sealed file: table L"),
        (swap_a_prediction, "predictions: example"),
        (leave_out_the_counts, "files: counts"),
        (change_the_proof, "files: SHA-256 of bounds.json"),
        (forget_the_float32_errors, "float32 errors of two classes are no positive numbers"),
        (misshape_the_pairs, "files: a document lacks, or misshapes"),
        (scale_every_pair_by_seven_tenths, "bounds: pair bound"),
        (forget_a_key, "files: a document lacks"),
        (change_the_job, "files: SHA-256 of job.json"),
    ],
)
def test_tampering_is_named(verify, run, tamper, named):
    tamper(run)
    status, _, err = verify(run)
    assert status == 7, err
    assert named in err


def test_another_model_and_swapped_data_are_named(verify, run, made, tmp_path):
    status, _, err = verify(run, "--model", run / "network.onnx")
    assert (status, "SHA-256 of model" in err) == (7, True)
    images, labels = blobs()
    np.savez(tmp_path / "other.npz", images=images[::-1], labels=labels)
    status, _, err = verify(run, data=tmp_path / "other.npz")
    assert (status, "data: SHA-256" in err) == (7, True)


def test_an_unknown_operator_is_named(verify, run):
    model = onnx.load(run / "model.onnx")
    next(node for node in model.graph.node if node.op_type == "PRelu").op_type = "Pow"
    onnx.save(model, run / "model.onnx")
    rehash(run)
    status, _, err = verify(run)
    assert (status, "Pow" in err) == (7, True)


def test_the_audit_loads_nothing_of_the_prover(made, run):
    probe = (
        "import sys\n"
        f"sys.argv = ['certify', 'verify', {str(run)!r}, '--data', {str(made / 'blobs.npz')!r}]\n"
        "from certify.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended: assert not ended.code\n"
        "rooms = ('torch', 'ray', 'models.proof', 'models.networks', 'models.attacks')\n"
        "print('LOADED', [room for room in rooms if room in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith("LOADED []")
