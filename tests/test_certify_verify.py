"""`certify verify`: an honest run holds, and every way to tamper with one is named."""

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from certify.cli import main
from models.audit import documents
from models.audit.claims import Certificate, Claims, Proof
from models.audit.descriptions import check_descriptions
from models.audit.graph import read_graph
from models.audit.images import Images, certified_images
from models.audit.outputs import check_outputs, check_refusals
from models.audit.radii import check_radii
from models.errors import VerificationError
from models.proof.sealing import run_onnx
from models.splits import Split
from tests.forgeries import (
    FORGERIES,
    REMARKS,
    column,
    edit_graph,
    edit_json,
    edit_table,
    ignore_the_domain,
    lower_the_pairs,
    maker,
    read,
    recount,
    rehash,
    repeat_a_row,
    write_table,
)
from tests.whole_runs import JOB, blobs

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


def test_an_honest_run_holds(verify, run):
    status, out, err = verify(run, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert (found["verdict"], found["fault"]) == ("holds", None)
    checks = {check["name"]: check for check in found["checks"]}
    confirmed, _, total = checks["radii"]["figure"].split()[:3]
    assert confirmed == total


def test_what_was_not_checked_is_no_success_unless_it_is_allowed(verify, run):
    status, out, err = verify(run, data=None)
    assert status == 7
    assert "as far as it was checked" in out
    assert "error: not checked: " in err
    assert "the data was not found; give it with --data" in err
    assert len(err.splitlines()) == 1
    assert verify(run, "--allow-unchecked", data=None)[0] == 0


def test_a_sample_is_drawn_anew_and_repeated_by_its_seed(verify, run):
    def drawn(*arguments):
        given = ("--sample", 5, "--allow-unchecked", "--json", *arguments)
        status, out, err = verify(run / "certificate.json", *given)
        assert status == 0, err
        (radii,) = (check for check in json.loads(out)["checks"] if check["name"] == "radii")
        return radii["figure"]

    first, second = drawn(), drawn()
    assert first != second
    assert "5 of 5 rows confirmed outright, drawn from 48 with seed " in first
    assert drawn("--seed", first.split()[-1]) == first
    assert verify(run, "--seed", 1)[0] == 2


def test_a_forged_row_is_found_by_some_seeds_and_not_by_others(verify, run):
    """Who knows the seed beforehand can forge the rows that it does not draw."""
    column("radius", lambda radii: np.where(radii == radii.max(), 1.01 * radii, radii))(run)
    options = ("--sample", 24, "--allow-unchecked", "--seed")
    assert {verify(run, *options, seed)[0] for seed in range(8)} == {0, 7}


def test_failure_is_told_in_json_too(verify, run):
    FORGERIES["certificates.parquet radius"][0](run)
    status, out, _ = verify(run, "--json")
    found = json.loads(out)
    assert (status, found["verdict"]) == (7, "does not hold")
    assert found["fault"].startswith("radii: example")
    assert [check["name"] for check in found["checks"]][-1] == "data"


@pytest.mark.parametrize("given", ["job.toml", "parquet", "blobs.npz"])
def test_data_is_whatever_a_job_may_name(verify, run, made, tmp_path, given):
    data = made / given
    if given == "parquet":
        images, labels = blobs()
        data = tmp_path / "images.parquet"
        write_images(data, images, labels)
    status, out, err = verify(run, "--allow-unchecked", "--json", data=data)
    if given == "parquet":
        assert (status, "data: SHA-256" in err) == (7, True)  # 8-bit pixels are other pixels
    else:
        assert status == 0, err
        assert str(made / "blobs.npz") in out


def write_images(path, images, labels):
    rows = []
    for image, label in zip(images, labels, strict=True):
        held = io.BytesIO()
        Image.fromarray(np.round(255 * image[0]).astype(np.uint8)).save(held, "PNG")
        rows.append({"image": {"bytes": held.getvalue(), "path": None}, "label": int(label)})
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_the_data_of_the_job_is_found_from_its_folder(verify, run, made, monkeypatch):
    monkeypatch.chdir(made)
    status, out, err = verify(run, "--json", "--allow-unchecked", data=None)
    assert status == 0, err
    assert "radii" in {check["name"] for check in json.loads(out)["checks"]}
    FORGERIES["certificates.parquet radius"][0](run)
    status, _, err = verify(run, data=None)
    assert (status, "radii: example" in err) == (7, True)


def test_bad_arguments_are_no_verdict(verify, tmp_path, run):
    assert verify(tmp_path / "none")[0] == 2
    (tmp_path / "bad.npz").write_text("no")
    (tmp_path / "bad.toml").write_text("no")
    for name in ("bad.npz", "bad.toml", "none.npz", "data.csv"):
        status, out, err = verify(run, data=tmp_path / name)
        assert (status, out) == (2, "")
        assert len(err.splitlines()) == 1


def claims_of(kind, place=""):
    """Every leaf of a document, dotted."""
    for name, field in kind.model_fields.items():
        kinds = [k for k in (field.annotation, *get_args(field.annotation)) if isinstance(k, type)]
        inner = [k for k in kinds if issubclass(k, Claims)]
        yield from claims_of(inner[0], f"{place}{name}.") if inner else (f"{place}{name}",)


def test_every_claim_of_a_certificate_has_a_forgery(made):
    """The table of forgeries is whole: a claim that is added to any document needs a row in it."""
    run = made / "runs" / "a"
    model = onnx.load(run / "model.onnx")
    prefix = "certificate/"
    floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    stored = [tensor.name for tensor in floats if tensor.name.startswith(prefix)]
    claims = {
        "certificate.json": claims_of(Certificate),
        "bounds.json": claims_of(Proof),
        "certificates.parquet": pq.read_schema(run / "certificates.parquet").names,
        "model.onnx": [
            *(f"output.{value.name}" for value in model.graph.output),
            *(f"metadata.{entry.key}" for entry in model.metadata_props),
            *(f"constant.{name.removeprefix(prefix)}" for name in stored),
        ],
    }
    known = {f"{document} {claim}" for document, names in claims.items() for claim in names}
    assert known == FORGERIES.keys() | REMARKS


@pytest.mark.parametrize("claim", FORGERIES)
def test_a_forged_claim_is_named(verify, run, claim):
    forge, named = FORGERIES[claim]
    forge(run)
    status, _, err = verify(run)
    assert status == 7, err
    assert named in err
    assert len(err.splitlines()) == 1


def drop_the_uncertified(run):
    table = pq.read_table(run / "certificates.parquet")
    write_table(run, table.filter(pc.greater(table["radius"], 0.25)))
    recount(run)


def halve_the_rounding_errors(run):
    """In the proof and in the file, with the radii that follow."""
    for precision in ("float32", "float64"):
        halved = {
            part: (0.5 * np.array(table)).tolist()
            for part, table in read(run, "bounds.json")[precision].items()
        }
        edit_json(run / "bounds.json", lambda found, p=precision, h=halved: found.update({p: h}))


def add_a_claim(run):
    edit_json(run / "certificate.json", lambda found: found.update(radius_linf=0.03))


def add_a_claim_to_the_proof(run):
    edit_json(run / "bounds.json", lambda found: found.update(exact=True))


def add_a_column(run):
    table = pq.read_table(run / "certificates.parquet")
    write_table(run, table.append_column("radius_linf", table["radius"]))


def widen_a_column(run):
    table = pq.read_table(run / "certificates.parquet")
    at = table.column_names.index("prediction")
    write_table(run, table.set_column(at, "prediction", table["prediction"].cast("int64")))


def empty_the_table(run):
    write_table(run, pq.read_table(run / "certificates.parquet").slice(0, 0))
    recount(run)


def add_metadata(run):
    edit_graph(run, lambda m: helper.set_model_props(m, words_of(m) | {"certified_by": "us"}))


def words_of(model):
    found = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    return found


def add_an_output(run):
    def change(model):
        value = helper.make_tensor_value_info("certificate/own", onnx.TensorProto.FLOAT, [3, 3])
        model.graph.output.append(value)

    edit_graph(run, change)


def know_the_radius_by_heart(run):
    """A table of numbers under the name that its formula has as text."""

    def change(model):
        sub = maker(model, maker(model, maker(model, "radius").input[1]).input[0])  # ReduceMin
        where = maker(model, maker(model, sub.input[0]).input[0])
        formula = "certificate/Sub(Div(Sub(ReduceMax(logits,[1];keepdims=1),logits),"
        where.input[1] = formula
        tensor = numpy_helper.from_array(np.full((1, 3), 9, "f4"), formula)
        model.graph.initializer.append(tensor)

    edit_graph(run, change)


def write_a_formula_without_end(run):
    """Each Sum reads the one before a hundred times: written out, it is longer than any disk."""

    def change(model):
        nodes = list(model.graph.node)
        place = nodes.index(maker(model, "logits")) + 1
        sums = [f"sum{k}" for k in range(40)]
        for before, result in zip(["logits", *sums], sums, strict=False):
            nodes.insert(place, helper.make_node("Sum", [before] * 100, [result]))
            place += 1
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        maker(model, "label").input[0] = sums[-1]

    edit_graph(run, change)


def take_weights_from_elsewhere(run):
    def change(model):
        tensor = model.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
        tensor.external_data.add(key="location", value="../../etc/passwd")

    edit_graph(run, change)


def add_a_node_that_nothing_needs(run):
    """ONNX Runtime would run it too, and a Loop in its place has no end."""

    def change(model):
        model.graph.node.append(helper.make_node("Relu", ["logits"], ["dead"], name="dead"))

    edit_graph(run, change)


def add_words(run):
    edit_graph(run, lambda model: setattr(model, "doc_string", "certified for every norm"))


def make_the_input_a_weight(run):
    def change(model):
        values = np.zeros((1, 1, 4, 4), "f4")
        tensor = numpy_helper.from_array(values, model.graph.input[0].name)
        model.graph.initializer.append(tensor)

    edit_graph(run, change)


def take_float64(run):
    def change(model):
        model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE

    edit_graph(run, change)


def change_the_job(run):
    edit_json(run / "job.json", lambda found: found.update(seed=77))


def ask_for_what_no_job_may(run):
    edit_json(run / "job.json", lambda found: found.update(seed="x"))


def forget_every_float32_radius(run):
    column("radius_float32", lambda radii: np.full_like(radii, np.nan))(run)


def understate_a_float32_radius(run):
    column("radius_float32", lambda radii: radii * 0.01)(run)


def misshape_the_pairs(run):
    for name in ("bounds.json", "certificate.json"):
        edit_json(run / name, lambda found: found["pair_bounds"][0].append(1.0))


def negate_a_zero(run):
    edit_table(run, "radius", lambda radii: np.where(radii == radii.min(), -0.0, radii))


CLEVER = {
    "all pairs by 0.7, with all that follows": (lower_the_pairs, "bounds: pair bound"),
    "rounding errors by half": (halve_the_rounding_errors, "bounds: "),
    "a row twice": (repeat_a_row, "column index does not rise"),
    "only rows that shine": (drop_the_uncertified, "data: the table of"),
    "no row": (empty_the_table, "has no row"),
    "a negative zero": (negate_a_zero, "column radius holds what is no number from 0 up"),
    "a claim that nobody knows": (add_a_claim, "files: certificate.json: radius_linf"),
    "the same in the proof": (add_a_claim_to_the_proof, "files: bounds.json: exact"),
    "a column that nobody knows": (add_a_column, "has other columns"),
    "a column of another kind": (widen_a_column, "has other columns"),
    "words in the file that nobody knows": (add_metadata, "sealed file: certified_by"),
    "an output that nobody knows": (add_an_output, "sealed file: its outputs are not"),
    "a table in the place of a formula": (know_the_radius_by_heart, "radius is not the formula"),
    "a formula without end": (write_a_formula_without_end, "label is not the formula"),
    "weights of another file": (take_weights_from_elsewhere, "operators: "),
    "a node that nothing needs": (add_a_node_that_nothing_needs, "no output needs dead"),
    "words of the file": (add_words, "it has words beside its metadata"),
    "an input that is a weight": (make_the_input_a_weight, "operators: "),
    "an input of float64": (take_float64, "operators: "),
    "another job": (change_the_job, "files: SHA-256 of job.json"),
    "no job at all": (ask_for_what_no_job_may, "files: job.json is no job: seed"),
    "no float32 radius where one is covered": (
        forget_every_float32_radius,
        "has radius_float32 nan",
    ),
    "a float32 radius below the file's": (
        understate_a_float32_radius,
        "gives a larger radius_float32",
    ),
    "pairs in no square": (misshape_the_pairs, "pair_bounds of bounds.json has not 3 × 3"),
}


@pytest.mark.parametrize("trick", CLEVER)
def test_a_clever_forgery_is_named(verify, run, trick):
    forge, named = CLEVER[trick]
    forge(run)
    rehash(run)
    status, _, err = verify(run)
    assert status == 7, err
    assert named in err
    assert len(err.splitlines()) == 1


def test_an_image_that_is_outside_the_domain_has_radius_0(run):
    content = (run / "model.onnx").read_bytes()
    check_refusals(content, (1, 4, 4))
    edit_graph(run, lambda model: ignore_the_domain(model.graph, lambda name: maker(model, name)))
    with pytest.raises(VerificationError, match=r"a pixel of -0.001\d* has radius"):
        check_refusals((run / "model.onnx").read_bytes(), (1, 4, 4))


def test_a_file_that_answers_otherwise_in_onnx_runtime_is_named(run, made):
    """What the runtime computes is held against the table even where every formula is right."""
    content = (run / "model.onnx").read_bytes()
    table = pq.read_table(run / "certificates.parquet")
    rows = {name: table[name].to_numpy().copy() for name in table.column_names}
    images = blobs()[0][rows["index"]]
    given = read(run, "certificate.json")["sealed_radius"]
    measured = {"claimed": given["largest_shortfall"], "slack": given["slack"]}
    assert check_outputs(content, images, rows, **measured) <= given["largest_shortfall"]
    sure = int(rows["radius"].argmax())
    for name, change, words in (
        ("prediction", lambda found: (found + 1) % 3, "gives another label"),
        ("radius", lambda found: found - 1e-3, "gives a larger radius than the table"),
        ("radius", lambda found: found + 1e-3, "gives a radius farther below the table's"),
        ("radius_float32", lambda found: 0 * found, "gives a larger radius_float32"),
        ("margin", lambda found: 1.01 * found, "gives another margin"),
    ):
        forged = {key: values.copy() for key, values in rows.items()}
        forged[name][sure] = change(forged[name][sure])
        with pytest.raises(
            VerificationError, match=f"for example {rows['index'][sure]} it {words}"
        ):
            check_outputs(content, images, forged, **measured)


def test_a_class_that_is_hardly_certified_may_be_another_one_in_float32(run):
    content = (run / "model.onnx").read_bytes()
    rows = {"index": np.array([0]), "prediction": np.array([0]), "radius": np.array([1e-6])}
    label = run_onnx(content, np.zeros((1, 1, 4, 4), "f4"))["label"][0]
    near_tie = rows | {"prediction": np.array([(label + 1) % 3]), "radius_float32": np.array([9.0])}
    near_tie["margin"] = np.array([0.0])
    with pytest.raises(VerificationError, match="larger radius than the table"):  # not "label"
        check_outputs(content, np.zeros((1, 1, 4, 4), "f4"), near_tie, claimed=1.0, slack=0.0)


def test_non_finite_logits_have_no_radius(run):
    graph = read_graph((run / "model.onnx").read_bytes())
    table = pq.read_table(run / "certificates.parquet")
    rows = {name: table[name].to_numpy() for name in table.column_names}
    images = blobs()[0][rows["index"]]
    factors = [1.0 for _ in graph.steps]
    with np.errstate(all="ignore"), pytest.raises(VerificationError, match="no finite logits"):
        check_radii(
            graph, images * np.inf, rows, factors=factors, pairs=np.ones((3, 3)), float32=None
        )


def test_pixels_outside_the_domain_are_not_what_was_certified(run, made):
    found = documents.read_documents(run, None)
    index = found.rows["index"]
    images, labels = (array[index] for array in blobs())
    images = images - np.float32(0.5)
    honest = Split(images, labels, index).sha256()
    forged = replace(
        found, certificate=found.certificate.model_copy(update={"data_sha256": honest})
    )
    with pytest.raises(VerificationError, match=r"images are not float32 in \[0, 1\]"):
        certified_images(Images(images, labels, index, None, "a file"), forged)


def test_an_assumption_that_is_kept_quiet_is_named(run):
    content = (run / "model.onnx").read_bytes()
    proof = documents.read_documents(run, None).proof
    smooth = proof.operators[2].model_copy(update={"operator": "Tanh"})
    rows = [*proof.operators[:2], smooth, *proof.operators[3:]]
    quiet = proof.model_copy(update={"operators": rows})
    with pytest.raises(VerificationError, match="no assumption names Tanh"):
        check_descriptions(content, quiet)
    check_descriptions(content, quiet.model_copy(update={"assumptions": ["Tanh is accurate"]}))


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
        f"sys.argv = ['certify', 'verify', {str(run)!r}, '--data', {str(made / 'blobs.npz')!r}, "
        "'--allow-unchecked']\n"
        "from certify.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended: assert not ended.code\n"
        "rooms = ('torch', 'ray', 'models.proof', 'models.networks', 'models.attacks')\n"
        "print('LOADED', [room for room in rooms if room in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith("LOADED []")
