"""Damaged and hostile files of a run: each is refused in one line, in little time and memory."""

import io
import json
import os
import tracemalloc

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import helper

from models.audit import documents
from models.audit.audit import audit
from models.audit.claims import read_object
from models.audit.descriptions import check_descriptions
from models.audit.sealed import read_sealed
from models.errors import VerificationError
from models.tables import CERTIFICATES
from tests.oracles import dense_file


def refused(call, *arguments):
    """The words of the refusal, which are one line."""
    with pytest.raises(VerificationError) as told:
        call(*arguments)
    assert "\n" not in str(told.value)
    return str(told.value)


HOSTILE = {
    "NaN": ('{"a": NaN}', "holds NaN"),
    "Infinity": ('{"a": [1, -Infinity]}', "holds -Infinity"),
    "a real number without end": ('{"a": 1e400}', "holds 1e400"),
    "a whole number of 5,000 digits": ('{"a": ' + "9" * 5000 + "}", "accepted are finite numbers"),
    "a whole number above 2⁵³": ('{"a": 9007199254740993}', "holds 9007199254740993"),
    "a key twice": ('{"a": {"b": 1, "b": 2}}', "holds the key 'b' twice"),
    "a million brackets": ("[" * 10**6, "is no JSON"),
    "a list": ("[]", "is no JSON object"),
    "cut off": ('{"a": 1', "is no JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "is no JSON"),
    "empty": ("", "is no JSON"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_document_that_can_be_read_in_two_ways_is_not_read(name):
    content, words = HOSTILE[name]
    given = content if isinstance(content, bytes) else content.encode()
    assert words in refused(read_object, given, "bounds.json")


def rows(count=5):
    return pa.table(
        {
            "index": np.arange(count),
            **{name: np.zeros(count, np.int32) for name in ("label", "prediction", "rival")},
            **{name: np.zeros(count) for name in ("margin", "radius", "radius_float32")},
        },
        schema=CERTIFICATES,
    )


def parquet(table):
    held = io.BytesIO()
    pq.write_table(table, held)
    return held.getvalue()


def test_a_table_that_is_cut_off_anywhere_is_refused():
    content = parquet(rows())
    assert len(documents.read_columns(content)["index"]) == 5
    for end in range(0, len(content), 37):
        assert refused(documents.read_columns, content[:end]).startswith("files: certificates")


def test_a_table_with_a_changed_byte_is_read_or_refused():
    """Whether it is read or refused, nothing else happens."""
    content = parquet(rows())
    rng = np.random.default_rng(0)
    words = [""]
    for place in rng.choice(len(content), 150, replace=False):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        try:
            documents.read_columns(bytes(changed))
        except VerificationError as told:
            words.append(str(told))
    assert len(words) > 50
    assert "\n" not in "".join(words)


def test_a_table_of_more_rows_than_are_accepted_is_refused_before_it_is_read(monkeypatch):
    """A run of equal values takes a few bytes, however many there are."""
    content = parquet(rows(200_000).slice(0, 1).take(np.zeros(200_000, np.int64)))
    monkeypatch.setattr(documents, "MOST_ROWS", 100_000)
    tracemalloc.start()
    try:
        assert "has over 100000 rows" in refused(documents.read_columns, content)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def audited(folder):
    return list(audit(folder))


def test_a_file_of_endless_or_very_many_bytes_is_refused(tmp_path):
    certificate = tmp_path / "certificate.json"
    assert "No such file" in refused(audited, tmp_path)
    certificate.symlink_to("/dev/zero")
    assert "certificate.json is no file" in refused(audited, tmp_path)
    certificate.unlink()
    os.mkfifo(certificate)
    assert "certificate.json is no file" in refused(audited, tmp_path)
    certificate.unlink()
    certificate.mkdir()
    assert "certificate.json is no file" in refused(audited, tmp_path)
    certificate.rmdir()
    certificate.symlink_to(certificate)
    assert "certificate.json" in refused(audited, tmp_path)
    certificate.unlink()
    with certificate.open("wb") as file:
        file.truncate(2**31 + 1)  # a sparse file: it takes no room
    assert "larger than" in refused(audited, tmp_path)
    certificate.write_text(json.dumps({"format": "certify certificate 1"}))
    assert refused(audited, tmp_path).startswith("files: certificate.json: ")


def edited(change):
    model = onnx.load_from_string(dense_file([np.eye(3)], [None], shape=(3,)))
    change(model)
    return model.SerializeToString()


def of_another_file(tensor, place):
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)


def constant_of_another_file(model):
    node = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("t", 1, [1], [1.0]))
    of_another_file(node.attribute[0].t, "weights.bin")
    model.graph.node.insert(0, node)


def huge(model):
    model.graph.initializer[0].dims[:] = [2**40, 2**20]


FILES = {
    "a weight of another file": (
        lambda model: of_another_file(model.graph.initializer[0], "weights.bin"),
        "operators: ",
    ),
    "a weight outside the folder": (
        lambda model: of_another_file(model.graph.initializer[0], "../../etc/passwd"),
        "operators: ",
    ),
    "a constant of another file": (constant_of_another_file, "operators: "),
    "a weight of 2⁶⁰ entries": (huge, "operators: "),
    "two inputs": (
        lambda model: model.graph.input.add().CopyFrom(helper.make_tensor_value_info("y", 1, [1])),
        "not one input",
    ),
    "a cycle": (lambda model: model.graph.node[0].input.__setitem__(0, "logits"), "operators: "),
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_model_is_refused(name, tmp_path, monkeypatch):
    (tmp_path / "weights.bin").write_bytes(bytes(64))  # were it read, nothing else would be wrong
    monkeypatch.chdir(tmp_path)
    change, words = FILES[name]
    assert words in refused(read_sealed, edited(change))


def test_a_model_that_is_cut_off_is_refused():
    content = edited(lambda model: None)
    for end in range(0, len(content), 11):
        refused(read_sealed, content[:end])
    assert list(read_sealed(content).outputs) == ["logits"]


def test_shapes_are_those_of_the_file(tmp_path):
    from models.audit.claims import Proof
    from models.proof.bounds import prove
    from models.proof.reading.reader import read_program

    content = dense_file([np.ones((4, 6)), np.eye(4)[:3]], [None] * 2, shape=(1, 2, 3))
    proof = Proof.model_validate(json.loads(json.dumps(prove(read_program(content)).to_json())))
    check_descriptions(content, proof)
    for at, row in enumerate(proof.operators):
        for change in ({"shape": "2×2"}, {"name": "x"}):
            forged = list(proof.operators)
            forged[at] = row.model_copy(update=change)
            words = refused(
                check_descriptions, content, proof.model_copy(update={"operators": forged})
            )
            assert words.startswith("operators: ")
    turned = proof.model_copy(update={"operators": proof.operators[::-1]})
    assert "no such operator there" in refused(check_descriptions, content, turned)
