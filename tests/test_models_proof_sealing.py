"""The shipped file repeats the table, never exceeds it, and is the program that was bounded."""

import dataclasses
import math

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from models.errors import ModelError, VerificationError
from models.proof.bounds import prove
from models.proof.certificate import certify_examples
from models.proof.reading.reader import read_program
from models.proof.sealed_graph import seal_graph
from models.proof.sealing import check_outputs, check_program, run_onnx, seal
from tests.oracles import dense_file, images, onnx_file, orthogonal_classifier

SHAPE = (1, 4, 4)
CONTENT = orthogonal_classifier(shape=SHAPE, width=64, classes=10)
PROGRAM = read_program(CONTENT)
BOUNDS = prove(PROGRAM)
INPUTS = images(500, SHAPE)
TABLE = certify_examples(PROGRAM, BOUNDS, INPUTS)
node = helper.make_node
HEAD = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
MARGIN = node("Gemm", ["x", "W"], ["logits"], transB=1)
METADATA = {"input_range": "[0, 1]", "classes": "10"}


@pytest.fixture(scope="module")
def sealed():
    return seal(
        CONTENT,
        BOUNDS,
        inputs=INPUTS,
        predictions=TABLE.predictions,
        margins=TABLE.margins,
        radii=TABLE.radii,
        metadata=METADATA,
    )


@pytest.mark.parametrize("optimised", [True, False])
def test_the_shipped_radii_are_the_tables_and_never_more(sealed, optimised):
    outputs = run_onnx(sealed.model, INPUTS, optimised=optimised)
    assert list(outputs) == ["logits", "label", "radius", "radius_float32"]
    assert (outputs["radius"] <= TABLE.radii).all()
    np.testing.assert_allclose(outputs["radius"], TABLE.radii, atol=1e-5, rtol=0)
    assert sealed.largest_shortfall <= 1e-5
    assert (outputs["label"] == TABLE.predictions).all()


def test_the_float32_radius_in_the_graph_is_proven_and_useful(sealed):
    fresh = images(2000, SHAPE, seed=5)  # not the images that it was sealed with
    table = certify_examples(PROGRAM, BOUNDS, fresh)
    found = run_onnx(sealed.model, fresh, optimised=False)["radius_float32"]
    assert (found <= table.radii_float32).all()
    assert (found >= 0.9 * table.radii_float32 - 0.01).all()


def test_any_number_of_images_fits(sealed):
    for count in (1, 3):
        outputs = run_onnx(sealed.model, INPUTS[:count])
        assert outputs["radius"].shape == outputs["label"].shape == (count,)


@pytest.mark.parametrize("pixel", [np.nan, np.inf, -np.inf, 1.5, -0.01])
def test_an_image_outside_the_domain_has_radius_zero(sealed, pixel):
    bad = INPUTS[:3].copy()
    bad[1, 0, 2, 2] = pixel
    outputs = run_onnx(sealed.model, bad)
    assert outputs["radius"][1] == outputs["radius_float32"][1] == 0
    assert outputs["radius"][0] > 0


def test_a_tie_has_radius_zero_and_equal_rows_have_no_finite_rival():
    head = np.array([[1.0, 0], [1, 0], [0, 1]])
    content = dense_file([head], [np.array([1.0, 0, 0])], shape=(2,))
    bounds = prove(read_program(content))
    model = seal_graph(content, bounds, slack=0.0, metadata={})
    found = run_onnx(model, np.array([[0.5, 0.5], [1, 0]], dtype=np.float32))
    assert found["radius"][1] == pytest.approx(2 / math.sqrt(2), abs=1e-5)
    tied = dense_file([head], [np.zeros(3)], shape=(2,))
    model = seal_graph(tied, prove(read_program(tied)), slack=0.0, metadata={})
    assert run_onnx(model, np.array([[0.5, 0.2]], dtype=np.float32))["radius"][0] == 0


def test_logits_that_overflow_have_radius_zero():
    content = dense_file([np.full((2, 4), 3e38) * [[1], [-1]]], [None], shape=(4,), slopes=False)
    bounds = prove(read_program(content))
    found = run_onnx(seal_graph(content, bounds, slack=0.0, metadata={}), images(3, (4,)))
    assert np.isinf(found["logits"]).any()
    assert (found["radius"] == 0).all()


@pytest.mark.parametrize("opset", [13, 17, 18, 23])
def test_a_file_of_every_opset_is_sealed_in_its_own_words(opset):
    content = onnx_file([MARGIN], shape=(8,), weights={"W": HEAD}, opset=opset)
    program = read_program(content)
    table = certify_examples(program, prove(program), images(20, (8,)))
    found = seal(
        content,
        prove(program),
        inputs=images(20, (8,)),
        predictions=table.predictions,
        margins=table.margins,
        radii=table.radii,
        metadata={},
    )
    assert found.largest_shortfall <= 1e-5


def test_a_bound_that_float32_flushes_is_kept_above_zero():
    content = dense_file([np.array([[1e-42, 0], [0, 1e-42]])], [np.array([1, 0])], shape=(2,))
    bounds = prove(read_program(content))
    model = onnx.load_from_string(seal_graph(content, bounds, slack=0.0, metadata={}))
    tables = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name in ("L", "A", "B", "C"):
        table = tables[f"certificate/{name}"]
        assert ((table == 0) | (table >= np.finfo(np.float32).tiny)).all()
        assert table[0, 1] > 0


ROOM = {
    "another output": ([MARGIN, node("Relu", ["x"], ["more"])], ("logits", "more"), "one, named"),
    "another name": ([node("Gemm", ["x", "W"], ["y"], transB=1)], ("y",), "the outputs y"),
    "a name that is taken": (
        [node("Gemm", ["x", "W"], ["radius"], transB=1), node("Identity", ["radius"], ["logits"])],
        ("logits",),
        "the names radius",
    ),
}


@pytest.mark.parametrize("name", ROOM)
def test_a_file_without_room_for_the_outputs_is_refused(name):
    nodes, outputs, message = ROOM[name]
    content = onnx_file(nodes, shape=(8,), weights={"W": HEAD}, outputs=outputs)
    bounds = prove(read_program(onnx_file([MARGIN], shape=(8,), weights={"W": HEAD})))
    with pytest.raises(ModelError, match=message):
        seal_graph(content, bounds, slack=0.0, metadata={})


def test_two_classes_and_a_hundred(sealed):
    for classes in (2, 100):
        content = orthogonal_classifier(shape=SHAPE, classes=classes)
        bounds = prove(read_program(content))
        table = certify_examples(read_program(content), bounds, INPUTS[:50])
        found = seal(
            content,
            bounds,
            inputs=INPUTS[:50],
            predictions=table.predictions,
            margins=table.margins,
            radii=table.radii,
            metadata={},
        )
        assert found.largest_shortfall <= 1e-5


def test_the_file_holds_the_program_that_was_bounded(sealed):
    program = read_program(sealed.model)
    assert program.sha256 == PROGRAM.sha256
    assert (prove(program).pair_bounds == BOUNDS.pair_bounds).all()


def test_the_file_tells_its_metadata_and_nothing_of_where_it_was_made(sealed):
    model = onnx.load_from_string(sealed.model)
    assert {entry.key: entry.value for entry in model.metadata_props} == METADATA
    assert b"/tmp" not in sealed.model
    assert b"site-packages" not in sealed.model


def test_sealing_twice_gives_the_same_bytes(sealed):
    again = seal(
        CONTENT,
        BOUNDS,
        inputs=INPUTS,
        predictions=TABLE.predictions,
        margins=TABLE.margins,
        radii=TABLE.radii,
        metadata=METADATA,
    )
    assert again == sealed


def test_alarm_a_weight_changed_after_the_bound(sealed):
    model = onnx.load_from_string(sealed.model)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "W1")
    values = numpy_helper.to_array(weight).copy()
    values *= np.float32(1.5)
    weight.CopyFrom(numpy_helper.from_array(values, "W1"))
    with pytest.raises(VerificationError, match="the sealed file holds program"):
        check_program(model.SerializeToString(), BOUNDS)


def test_alarm_a_smaller_class_pair_table_in_the_file():
    false = dataclasses.replace(BOUNDS, pair_bounds=0.7 * BOUNDS.pair_bounds)
    model = seal_graph(CONTENT, false, slack=0.0, metadata={})
    with pytest.raises(VerificationError, match="has radius"):
        check_outputs(
            run_onnx(model, INPUTS),
            predictions=TABLE.predictions,
            radii=TABLE.radii,
        )


def test_alarm_another_label_in_the_file(sealed):
    outputs = run_onnx(sealed.model, INPUTS)
    with pytest.raises(VerificationError, match="has label"):
        check_outputs(outputs, predictions=TABLE.predictions + 1, radii=TABLE.radii)


def test_alarm_a_nan_radius_in_the_file(sealed):
    outputs = run_onnx(sealed.model, INPUTS)
    outputs["radius"][7] = np.nan
    with pytest.raises(VerificationError, match="example 7"):
        check_outputs(outputs, predictions=TABLE.predictions, radii=TABLE.radii)
