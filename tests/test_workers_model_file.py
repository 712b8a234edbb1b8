"""An ONNX file with weights beside it: taken in whole, and never from anywhere else."""

import os
import tracemalloc

import numpy as np
import onnx
import onnxruntime
import pytest

from models.errors import ModelError
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests.oracles import images, orthogonal_classifier
from workers import model_file
from workers.model_file import read_model_file

WHOLE = orthogonal_classifier()


def written(folder, **changes):
    """The classifier with its weights in `weights.data`; `changes` are made to the first entry."""
    path = folder / "model.onnx"
    model = onnx.load_from_string(WHOLE)
    onnx.save(
        model, path, save_as_external_data=True, location="weights.data", size_threshold=0,
    )  # fmt: skip
    if changes:
        model = onnx.load(path, load_external_data=False)
        changed(model.graph.initializer[0], **changes)
        path.write_bytes(model.SerializeToString())
    return path


def changed(tensor, **changes):
    entries = {entry.key: entry.value for entry in tensor.external_data} | changes
    del tensor.external_data[:]
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))


def test_a_file_with_its_weights_beside_it_is_the_same_program(tmp_path):
    path = written(tmp_path)
    assert (tmp_path / "weights.data").stat().st_size > 0
    content = read_model_file(path)
    assert read_program(content).sha256 == read_program(WHOLE).sha256
    assert b"weights.data" not in content
    assert read_model_file(path) == content


def test_what_was_taken_in_computes_what_the_runtime_computes_from_the_path(tmp_path):
    path = written(tmp_path)
    inputs = images(20, (1, 4, 4))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": inputs})
    np.testing.assert_array_equal(run_onnx(read_model_file(path), inputs)["logits"], expected)


def test_a_file_in_one_piece_is_read_as_it_is(tmp_path):
    (tmp_path / "model.onnx").write_bytes(WHOLE)
    assert read_model_file(tmp_path / "model.onnx") == WHOLE


def test_a_subfolder_and_a_link_inside_are_the_models_own(tmp_path):
    path = written(tmp_path, location="inside/linked.data")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "linked.data").symlink_to(tmp_path / "weights.data")
    assert read_program(read_model_file(path)).sha256 == read_program(WHOLE).sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"location": "/etc/passwd"}, "found the location '/etc/passwd'"),
        ({"location": "C:\\weights.data"}, "found the location"),
        ({"location": "\\\\host\\weights.data"}, "found the location"),
        ({"location": "../weights.data"}, "found the location '../weights.data'"),
        ({"location": "inside/../weights.data"}, "found the location"),
        ({"location": "..\\weights.data"}, "found the location"),
        ({"location": ""}, "found the location ''"),
        ({"location": None}, "found the location ''"),
        ({"location": "."}, "no plain file"),
        ({"location": "weights\x00.data"}, "found the location"),
        ({"location": "missing.data"}, "found no file 'missing.data'"),
        ({"location": "out.data"}, "a link that leads out"),
        ({"location": "circle.data"}, "found no file 'circle.data'"),
        ({"location": "pipe.data"}, "no plain file"),
        ({"offset": "-4"}, "offset: found '-4'"),
        ({"offset": "1e3"}, "offset: found '1e3'"),
        ({"offset": str(10**18)}, "accepted are bytes of the file"),
        ({"length": "4"}, "found 4 bytes for the shape [32, 16]; accepted are 2048"),
        ({"length": "-1"}, "length: found '-1'"),
        ({"offset": str(10**18), "length": None}, "length: found '-"),
        ({"basepath": "elsewhere"}, "accepted are location, offset"),
    ],
)
def test_what_leads_out_or_does_not_fit_is_refused_in_one_line(tmp_path, changes, words):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.data").write_bytes(bytes(10_000))
    path = written(folder, **changes)
    (folder / "out.data").symlink_to(tmp_path / "secret.data")
    (folder / "circle.data").symlink_to(folder / "circle.data")
    os.mkfifo(folder / "pipe.data")
    with pytest.raises(ModelError) as caught:
        read_model_file(path)
    assert words in str(caught.value)
    assert "model.onnx: weight 'W0'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_short_file_that_claims_a_huge_weight_is_refused_before_anything_is_allocated(tmp_path):
    path = written(tmp_path)
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    tensor.dims[:] = [2**20, 2**20]
    for length in (str(2**42), None):
        changed(tensor, length=length)
        path.write_bytes(model.SerializeToString())
        tracemalloc.start()
        with pytest.raises(ModelError, match=r"weight 'W0': found"):
            read_model_file(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()


def test_more_than_protobuf_holds_is_refused_with_that_reason(tmp_path, monkeypatch):
    path = written(tmp_path)
    monkeypatch.setattr(model_file, "MOST_BYTES", 5000)
    with pytest.raises(ModelError, match=r"found \d+ bytes, weights included; accepted are at mo"):
        read_model_file(path)
    with path.open("r+b") as file:
        file.truncate(2**31)  # a hole: no disk is used
    monkeypatch.undo()
    with pytest.raises(ModelError, match="found 2147483648 bytes"):
        read_model_file(path)


def test_files_that_are_no_model_are_refused(tmp_path):
    (tmp_path / "text.onnx").write_bytes(b"no model at all")
    for name, words in (
        ("text.onnx", "not an ONNX"),
        ("none.onnx", "No such"),
        (".", "no plain file"),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            read_model_file(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_weight_of_another_type_is_refused(tmp_path):
    path = written(tmp_path)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].data_type = onnx.TensorProto.INT4
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="found type INT4; accepted are FLOAT, DOUBLE"):
        read_model_file(path)
