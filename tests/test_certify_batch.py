"""Batch evaluation: a row an image with its proven radius, in order, resumed by shard."""

import io
import json
import sys

import numpy as np
import onnx
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from certify.cli import main
from certify.jobs.job import check_job, load_job
from certify.runs.progress import Reporter
from certify.runs.run import Run
from certify.runs.run_dir import RunDir
from certify.stages.publish import results_of
from certify.submitting.inputs import read_inputs
from models.errors import DataError, JobError, ModelError
from models.proof.bounds import prove
from models.proof.certificate import certify_examples
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx, seal
from tests.oracles import onnx_file
from tests.whole_runs import blobs, start, wait_for
from workers.answering import answer_piece, answering_graph

SIZE = 40
JOB = f"""
name = "rows"
[data]
source = "parquet"
path = "big"
[model]
architecture = "onnx"
path = "theirs.onnx"
[evaluate]
shard_size = {SIZE}
[resources]
workers = 2
"""


def network(*, smooth=False):
    """Three classes of 4×4 grey images, told apart by their means."""
    images, labels = blobs()
    means = np.stack([images[labels == c].reshape(-1, 16).mean(axis=0) for c in range(3)])
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "W", "b"], ["h"], transB=1),
        helper.make_node("Tanh" if smooth else "Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "V"], ["logits"], transB=1),
    ]
    weights = {
        "W": means - means.mean(axis=0),
        "b": np.array([0.3, 0.2, 0.1]),
        "V": np.eye(3),
    }
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    return onnx_file(nodes, shape=(1, 4, 4), weights=weights, outputs=("logits",))


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(np.moveaxis(image, 0, 2).squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(path, images, labels, *, group):
    path.parent.mkdir(exist_ok=True)
    columns = {"image": [{"bytes": png(image), "path": None} for image in images]}
    if labels is not None:
        columns["label"] = labels
    pq.write_table(pa.table(columns), path, row_group_size=group)


@pytest.fixture(scope="module")
def images():
    pixels, labels = blobs(per_class=200)
    return (pixels * 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory, images):
    """A user's folder: two files whose row groups and pieces do not meet."""
    made = tmp_path_factory.mktemp("user")
    pixels, labels = images
    parquet(made / "big" / "b.parquet", pixels[410:], labels[410:], group=1000)
    parquet(made / "big" / "a.parquet", pixels[:410], labels[:410], group=70)
    (made / "big" / "README.md").write_text("not an image")
    (made / "theirs.onnx").write_bytes(network())
    (made / "job.toml").write_text(JOB)
    return made


def opened(job, folder):
    """Everything of a job that is known before Ray: its model, its data, its graph."""
    job, _, foreign = read_inputs(job, folder)
    bounds = prove(read_program(foreign.imported.network)).to_json()
    return job, foreign, answering_graph(foreign.imported.network, bounds)


def answered(job, folder):
    """Every piece of a job, answered in this process."""
    job, foreign, graph = opened(job, folder)
    pieces = foreign.streamed.stream.pieces(job.evaluate.shard_size)
    return [answer_piece(graph, foreign.streamed, piece) for piece in pieces]


def tables(answers):
    return pa.concat_tables([pq.read_table(io.BytesIO(each.table)) for each in answers])


def changed(job, **tables_of):
    keys = job.resolved()
    for name, values in tables_of.items():
        keys[name] = keys[name] | values
    return check_job(keys, place="test")


@pytest.fixture(scope="module")
def expected(folder):
    return answered(load_job(folder / "job.toml"), folder)


def test_rows_are_the_images_in_order_with_the_radius_that_is_proven(folder, images, expected):
    pixels, labels = images
    table = tables(expected)
    assert table["index"].to_pylist() == list(range(600))
    assert table["file"].to_pylist() == ["a.parquet"] * 410 + ["b.parquet"] * 190
    assert table["row"].to_pylist() == [*range(410), *range(190)]
    assert (table["label"].to_numpy() == labels).all()
    inputs = pixels.astype(np.float32) / np.float32(255)
    program = read_program(network())
    bounds = prove(program)
    found = certify_examples(program, bounds, inputs)
    assert (table["prediction"].to_numpy() == found.predictions).all()
    radii = table["radius_float32"].to_numpy()
    assert (radii <= found.radii).all()
    assert (radii > 0.9 * found.radii).mean() > 0.9
    sealed = seal(network(), bounds, inputs=inputs, predictions=found.predictions,
                  margins=found.margins,
                  radii=found.radii, metadata={}).model  # fmt: skip
    shipped = run_onnx(sealed, inputs, optimised=False, batch=SIZE)
    assert (radii == shipped["radius_float32"]).mean() > 0.99  # sums may differ by the batch
    assert np.abs(radii - shipped["radius_float32"]).max() < 1e-6
    assert np.abs(table["margin"].to_numpy() - found.margins).max() < 1e-5


def test_a_radius_that_the_file_itself_claims_is_not_believed(folder, images, expected, tmp_path):
    inputs = images[0].astype(np.float32) / np.float32(255)
    program = read_program(network())
    found = certify_examples(program, prove(program), inputs)
    model = onnx.load_from_string(
        seal(network(), prove(program), inputs=inputs, predictions=found.predictions,
             margins=found.margins,
             radii=found.radii, metadata={}).model
    )  # fmt: skip
    for tensor in model.graph.initializer:
        if tensor.name == "certificate/C":
            wrong = numpy_helper.to_array(tensor) / 2
            tensor.CopyFrom(numpy_helper.from_array(wrong, tensor.name))
    (tmp_path / "forged.onnx").write_bytes(model.SerializeToString())
    forged = run_onnx(model.SerializeToString(), inputs)["radius_float32"]
    assert (forged > found.radii).all()
    job = changed(load_job(folder / "job.toml"), model={"path": str(tmp_path / "forged.onnx")})
    assert tables(answered(job, folder)).equals(tables(expected))


def test_a_model_whose_rounding_is_not_covered_is_refused(folder, tmp_path):
    (tmp_path / "smooth.onnx").write_bytes(network(smooth=True))
    job = changed(load_job(folder / "job.toml"), model={"path": str(tmp_path / "smooth.onnx")})
    with pytest.raises(ModelError, match="no radius is proven of what a float32 runtime computes"):
        opened(job, folder)


@pytest.mark.parametrize("size", [7, 70, 1000])
def test_answers_do_not_depend_on_how_rows_are_cut(folder, expected, size):
    job = changed(load_job(folder / "job.toml"), evaluate={"shard_size": size})
    found = answered(job, folder)
    assert max(each.rows for each in found) <= size
    same, other = tables(found), tables(expected)
    for name in ("index", "file", "row", "label", "prediction"):
        assert same[name].equals(other[name])
    assert np.abs(same["margin"].to_numpy() - other["margin"].to_numpy()).max() < 1e-6


def saved(folder, names, images):
    for name, image in zip(names, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(image))


@pytest.mark.parametrize("layout", ["{class}/{row}.png", "test/{class}/{row}.png", "{row}.png"])
def test_folders_give_the_same_answers_as_parquet(folder, images, expected, tmp_path, layout):
    pixels, labels = images
    names = [layout.format(row=f"{i:03}", **{"class": f"c{labels[i]}"}) for i in range(60)]
    saved(tmp_path / "data", names, pixels[:60])
    job = changed(
        load_job(folder / "job.toml"), data={"source": "folder", "path": str(tmp_path / "data")}
    )
    table = tables(answered(job, folder))
    order = np.argsort(names)
    assert table["file"].to_pylist() == [names[i] for i in order]
    assert table["index"].to_pylist() == list(range(60))
    known = "class" in layout
    assert table["label"].to_pylist() == ([int(labels[i]) for i in order] if known else [None] * 60)
    whole = tables(expected).slice(0, 60).take(order)
    assert table["prediction"].equals(whole["prediction"])
    difference = table["radius_float32"].to_numpy() - whole["radius_float32"].to_numpy()
    assert np.abs(difference).max() < 1e-6


def test_parquet_without_labels_has_rows_without_labels(folder, images, tmp_path):
    parquet(tmp_path / "x" / "some.parquet", images[0][:50], None, group=50)
    job = changed(load_job(folder / "job.toml"), data={"path": str(tmp_path / "x")})
    assert tables(answered(job, folder))["label"].null_count == 50


def refusal(folder, job):
    with pytest.raises(DataError) as refused:
        answered(job, folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_first_image_that_cannot_be_accepted_is_named(folder, images, tmp_path):
    pixels, labels = images
    job = changed(load_job(folder / "job.toml"), data={"path": str(tmp_path / "x")})
    wrong = np.where(np.arange(50) == 44, 3, labels[:50])
    parquet(tmp_path / "x" / "a.parquet", pixels[:50], wrong, group=50)
    assert "a.parquet[44]: found the label 3" in refusal(folder, job)
    columns = {"image": [{"bytes": png(image), "path": None} for image in pixels[:50]]}
    columns["image"][43] = {"bytes": png(pixels[0][:, :3]), "path": None}
    pq.write_table(pa.table(columns), tmp_path / "x" / "a.parquet")
    assert "a.parquet: image[43]: found an image of 3 × 4 grey" in refusal(folder, job)
    (tmp_path / "x" / "a.parquet").write_bytes(b"PAR1 no")
    assert "a.parquet: cannot be read" in refusal(folder, job)
    (tmp_path / "x" / "a.parquet").unlink()
    assert "found no row in a .parquet file" in refusal(folder, job)


@pytest.mark.parametrize(
    "names", [["a/1.png", "2.png"], ["x/a/1.png", "x/b/2.png"], ["a/b/c/1.png"], ["a/notes.txt"]]
)
def test_folders_that_can_be_read_in_several_ways_are_refused(folder, images, tmp_path, names):
    saved(tmp_path / "data", names, images[0][: len(names)])
    job = changed(
        load_job(folder / "job.toml"), data={"source": "folder", "path": str(tmp_path / "data")}
    )
    assert "accepted are" in refusal(folder, job)


def test_a_link_that_leads_out_is_refused(folder, images, tmp_path):
    saved(tmp_path, ["secret/1.png"], images[0][:1])
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "1.png").symlink_to(tmp_path / "secret" / "1.png")
    job = changed(
        load_job(folder / "job.toml"), data={"source": "folder", "path": str(tmp_path / "data")}
    )
    assert "a link to a place outside" in refusal(folder, job)


@pytest.mark.parametrize(
    ("table", "values", "why"),
    [
        ("data", {"source": "npz", "path": "x.npz"}, "accepted are folder and parquet"),
        ("resources", {"gpus_per_worker": 1}, "found a GPU with evaluate"),
        ("data", {"buffer": 9}, "data.buffer is not accepted with architecture"),
        ("data", {"buffer": 9, "path": "s3://b/x"}, "not accepted with a path in an object store"),
        ("attack", {"examples": 3}, "attack is not accepted with evaluate"),
        ("evaluate", {"shard_size": 0}, "evaluate.shard_size: found 0"),
        ("evaluate", {"size": 1}, "accepted are shard_size"),
    ],
)
def test_a_job_that_asks_for_more_than_rows_is_refused(folder, table, values, why):
    keys = load_job(folder / "job.toml").resolved()
    keys[table] = keys.get(table, {}) | values
    with pytest.raises(Exception, match=why):
        check_job(keys, place="test")


def invoke(monkeypatch, capsys, folder, *arguments):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["certify", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def test_the_command_streams_with_batch_and_with_an_address(folder, monkeypatch, capsys):
    command = ["evaluate", "theirs.onnx", "--data", "big", "--source", "parquet", "--dry-run"]
    for option in (["--batch"], ["--address", "http://127.0.0.1:1"]):
        status, out, err = invoke(monkeypatch, capsys, folder, *command, *option)
        assert (status, err) == (0, "")
        assert "600 test images of 1×4×4 in 3 classes" in out
        status, _, err = invoke(monkeypatch, capsys, folder, *command, *option, "--eps", "0.5")
        assert status == 2
        assert err.startswith("error: certify evaluate: --eps is refused with a batch evaluation")
    status, _, err = invoke(monkeypatch, capsys, folder, *command)
    assert status == 2  # a whole run needs a test part, and the names of these files tell none
    assert "found a name that tells no part" in err


def test_the_command_says_which_option_does_not_stream_a_kind_of_data(folder, monkeypatch, capsys):
    command = ["evaluate", "theirs.onnx", "--batch", "--dry-run", "--data", "digits"]
    status, _, err = invoke(monkeypatch, capsys, folder, *command)
    assert status == 2
    assert "found data of kind 'digits' with a batch evaluation" in err
    assert "accepted with --batch and --address are folder and parquet" in err


def test_data_that_has_changed_since_a_run_began_is_refused(folder, images, tmp_path):
    parquet(tmp_path / "x" / "a.parquet", images[0][:50], images[1][:50], group=50)
    job = changed(load_job(folder / "job.toml"), data={"path": str(tmp_path / "x")})
    run_dir = RunDir(tmp_path, "changing")
    run_dir.create()
    for rows in (50, 51):
        _, foreign, _ = opened(job, folder)
        run = Run(job, foreign.dataset, run_dir, Reporter(), foreign)
        if rows == 50:
            run.open(b"")
            run.open(b"")
            parquet(tmp_path / "x" / "a.parquet", images[0][:51], images[1][:51], group=50)
    with pytest.raises(JobError, match="the data of run changing has changed since it began"):
        run.open(b"")


def test_a_url_without_a_name_of_a_file_needs_a_kind(folder, monkeypatch, capsys):
    command = ["evaluate", "theirs.onnx", "--batch", "--dry-run", "--data", "s3://bucket/images"]
    status, _, err = invoke(monkeypatch, capsys, folder, *command)
    assert status == 2
    assert "the kind of data cannot be told from a URL" in err


def answering(process):
    """Ray's processes of a run that answer pieces."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "MapWorker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def test_a_killed_worker_and_a_continued_run_change_no_byte(folder, expected):
    job, foreign, _ = opened(load_job(folder / "job.toml"), folder)
    run_dir = RunDir(folder / "runs", "whole")
    run_dir.create()
    Run(job, foreign.dataset, run_dir, Reporter(), foreign).open(JOB.encode())
    run_dir.write("rows/000003.parquet", expected[3].table)  # of an earlier attempt
    before = run_dir.at("rows/000003.parquet").stat().st_mtime_ns
    process = start(folder, "submit", "job.toml", "--run", "whole", "--json")
    victims = wait_for(lambda: process.poll() is not None or answering(process))
    victims[0].kill()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "core_worker" not in err
    for answer in expected:
        assert run_dir.read(f"rows/{answer.number:06d}.parquet") == answer.table
    assert run_dir.at("rows/000003.parquet").stat().st_mtime_ns == before
    summary = json.loads(out)
    labels = tables(expected)["label"].to_numpy() == tables(expected)["prediction"].to_numpy()
    assert (summary["rows"], summary["labelled"], summary["correct"]) == (600, 600, labels.sum())
    assert summary["verdict"] is None
    assert summary["left_out"] == []
    with pytest.raises(JobError, match="a batch evaluation has no report"):
        results_of(run_dir)
    numbers = sorted(each["number"] for each in run_dir.read_json("costs.json"))
    assert numbers == [number for number in range(len(expected)) if number != 3]
