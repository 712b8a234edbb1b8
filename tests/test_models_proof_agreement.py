"""Files that runtimes read otherwise: both readers refuse them, and the last guard rings."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.checking.bounding import bound_file
from models.audit.graph import read_graph
from models.audit.node import BATCH
from models.audit.radii import check_radii
from models.errors import ModelError, VerificationError
from models.proof import agreement
from models.proof.agreement import check_agreement, drawn_images, margins_of
from models.proof.bounds import prove
from models.proof.certificate import certify_examples
from models.proof.importing import Preprocessing, check_import, import_model
from models.proof.program import logits_in_float64
from models.proof.reading import convolution, folding
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx, seal
from tests.oracles import images, onnx_file

node = helper.make_node
HEAD = np.float32([[1, -1]])


def whole(*values):
    return np.array(values, dtype=np.int64)


def widened(*nodes, opset=18, **constants):
    """x, one entry, as often as the nodes' `count` says, added up: a wrong count, a wrong bound."""
    tail = [
        node("Concat", ["one", "count"], ["sides"], axis=0),
        node("Expand", ["x", "sides"], ["wide"]),
        node("ReduceSum", ["wide", "one"], ["sum"], keepdims=1),
        node("MatMul", ["sum", "W"], ["logits"]),
    ]
    weights = {"W": HEAD, "one": whole(1), "zero": whole(0), "hundred": whole(100), **constants}
    return onnx_file([*nodes, *tail], shape=(1,), weights=weights, opset=opset)


def backwards(start, end):
    """The last of 2 and of what a slice backwards takes of 7, 8 and 9."""
    return widened(
        node("Slice", ["row", "start", "end", "zero", "back"], ["taken"]),
        node("Concat", ["two", "taken"], ["joined"], axis=0),
        node("Gather", ["joined", "back"], ["count"]),
        row=whole(7, 8, 9), two=whole(2), start=whole(start), end=whole(end), back=whole(-1),
    )  # fmt: skip


def product(*operands, opset=18, table=(10, 9), **attributes):
    """100 less the first entry of a product."""
    return widened(
        node("ReduceProd", ["table", *operands], ["made"], **attributes),
        node("Reshape", ["made", "all"], ["flat"]),
        node("Gather", ["flat", "zero"], ["first"]),
        node("Sub", ["hundred", "first"], ["count"]),
        table=whole(*table), none=whole(), second=whole(1), all=whole(-1), opset=opset,
    )  # fmt: skip


def gapped(auto_pad="SAME_UPPER", *, stride=4, side=4):
    """Windows of one pixel, so far apart that the last needs fewer pixels than there are."""
    kernel = np.float32([[[[1]]], [[[-1]]]])
    nodes = [
        node("Conv", ["x", "K"], ["h"], auto_pad=auto_pad, strides=[stride, stride]),
        node("GlobalAveragePool", ["h"], ["mean"]),
        node("Flatten", ["mean"], ["logits"]),
    ]
    return onnx_file(nodes, shape=(1, side, side), weights={"K": kernel})


AMBIGUOUS = {
    "a product of nothing that is told": product("none", noop_with_empty_axes=1),
    "a product of nothing": product(noop_with_empty_axes=1),
    "a product along an axis": product("second", table=((10, 1), (9, 1))),
    "a product along an attribute": product(opset=13, axes=[1], table=((10, 1), (9, 1))),
    "back from before the axis": backwards(-10, -(2**31)),
    "back to the largest int32": backwards(-1, 2**31 - 1),
    "back to the largest int64": backwards(-1, 2**63 - 1),
    "gaps, upper": gapped("SAME_UPPER"),
    "gaps, lower": gapped("SAME_LOWER"),
    "gaps of two pixels": gapped(stride=3, side=3),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_runtimes_read_in_two_ways_is_refused_by_both_readers(name):
    with pytest.raises(ModelError, match=r"in two ways|a product along"):
        read_program(AMBIGUOUS[name])
    with pytest.raises(VerificationError, match="operators: "):
        read_graph(AMBIGUOUS[name])


def beside_a_loop(turns):
    """A classifier whose runtime also turns a loop that no logit needs."""
    inner = [
        ("i", TensorProto.INT64, []),
        ("go", TensorProto.BOOL, []),
        ("v", TensorProto.FLOAT, [1]),
    ]
    outer = [("on", TensorProto.BOOL, []), ("w", TensorProto.FLOAT, [1])]
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Add", ["v", "v"], ["w"])], "body",
        [helper.make_tensor_value_info(*each) for each in inner],
        [helper.make_tensor_value_info(*each) for each in outer],
    )  # fmt: skip
    nodes = [node("Loop", ["turns", "yes", "v0"], ["dead"], body=body)]
    weights = {"turns": np.array(turns), "yes": np.array(True), "v0": np.ones(1, np.float32)}
    return onnx_file(
        [*nodes, node("MatMul", ["x", "W"], ["logits"])], shape=(1,), weights=weights | {"W": HEAD}
    )


def test_a_loop_that_no_logit_needs_is_refused_before_a_runtime_turns_it():
    with pytest.raises(ModelError, match=r"Loop\): found a graph inside a node"):
        read_program(beside_a_loop(2**62))
    with pytest.raises(VerificationError, match="Loop holds a graph of its own"):
        read_graph(beside_a_loop(2**62))


def test_a_part_without_a_name_is_refused_before_a_runtime_crashes_on_it():
    nodes = [
        node("Split", ["x"], ["", "b"], axis=1, num_outputs=2),
        node("MatMul", ["b", "W"], ["logits"]),
    ]
    content = onnx_file(nodes, shape=(2,), weights={"W": HEAD})
    with pytest.raises(ModelError, match="a part without a name"):
        read_program(content)
    with pytest.raises(VerificationError, match="a part of a Split has no name"):
        read_graph(content)


LENGTHS = {
    "stored": ([], {"length": np.array(BATCH)}),
    "a constant": ([node("Constant", [], ["length"], value_int=BATCH)], {}),
    "computed": ([node("Neg", ["minus"], ["length"])], {"minus": np.array(-BATCH)}),
    "a sum": (
        [node("Add", ["half", "half"], ["length"])], {"half": np.array(BATCH // 2 + BATCH % 2)},
    ),
    "filled": (
        [node("ConstantOfShape", ["none"], ["length"],
              value=numpy_helper.from_array(np.array([BATCH])))],
        {"none": whole()},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LENGTHS)
def test_no_number_of_a_file_passes_for_the_length_of_the_batch(name):
    """Compared with it, a length would choose one weight in the audit and another in a runtime."""
    nodes, constants = LENGTHS[name]
    content = widened(
        node("Shape", ["x"], ["sides"]), node("Gather", ["sides", "zero"], ["batch"]),
        *nodes, node("Equal", ["batch", "length"], ["same"]),
        node("Where", ["same", "one", "hundred"], ["count"]), **constants,
    )  # fmt: skip
    with pytest.raises(VerificationError, match="operators: "):
        read_graph(content)


READ_ALIKE = {
    "a product of all": product(),
    "a product of a table": product(keepdims=0, table=((2, 3), (1, 2))),
    "back to the first": backwards(-1, -(2**31)),
    "back within": backwards(2, 0),
    "one pixel too many": gapped(stride=2),
    "one pixel too many, lower": gapped("SAME_LOWER", stride=2),
}


@pytest.mark.parametrize("name", READ_ALIKE)
def test_what_they_read_alike_is_what_onnx_runtime_computes(name):
    content = READ_ALIKE[name]
    program = read_program(content)
    x = images(8, program.input_shape)
    check_agreement(logits_in_float64(program, x), run_onnx(content, x)["logits"])
    read_graph(content)


def read_wrongly(monkeypatch):
    """The rules as they once were: wrong, and the same for both readers."""

    def pads(node, sides, reaches, strides):
        return (0,) * (2 * len(sides))

    monkeypatch.setattr(convolution, "_pads", pads)
    monkeypatch.setitem(folding._COMPUTED, "ReduceProd", lambda node, a, *_: np.prod(a, keepdims=1))


@pytest.mark.parametrize("name", ["gaps, upper", "a product of nothing"])
def test_alarm_a_rule_that_misreads_a_file(monkeypatch, tmp_path, name):
    read_wrongly(monkeypatch)
    content = AMBIGUOUS[name]
    message = "computes another function than the one that was read: example 0"
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(VerificationError, match=message):
        bound_file(path)
    imported = import_model(content, Preprocessing())
    with pytest.raises(VerificationError, match=message):
        check_import(imported, drawn_images(imported.input_shape))
    program = read_program(content)
    bounds, x = prove(program), drawn_images(program.input_shape)
    table = certify_examples(program, bounds, x)
    told = {"predictions": table.predictions, "margins": table.margins, "radii": table.radii}
    with pytest.raises(VerificationError, match=message):
        seal(content, bounds, inputs=x, metadata={}, **told)


def test_rounding_passes_and_nothing_beyond_it_does():
    exact = np.array([[1.0, -2.0], [0.5, 0.0]])
    accepted = 2 * agreement.AGREEMENT
    off = np.array([[0.0, 0.0], [1.0, 0.0]])
    check_agreement(exact, exact + 0.99 * accepted * off)
    for wrong in (1.01 * accepted, np.nan, np.inf):
        with pytest.raises(VerificationError, match="example 1 differs"):
            check_agreement(exact, exact + np.where(off, wrong, 0))
    with pytest.raises(VerificationError, match="example 1 differs"):
        check_agreement(np.where(off, np.inf, exact), exact)
    with pytest.raises(VerificationError, match="no image"):
        check_agreement(exact[:0], exact[:0])


def test_a_margin_is_the_prediction_over_the_best_other_class():
    logits = np.float32([[1, 3, 2], [4, 4, 0]])
    np.testing.assert_array_equal(margins_of(logits, np.array([1, 0])), [1, 0])
    np.testing.assert_array_equal(margins_of(logits, np.array([2, 2])), [-1, -4])


def test_a_class_that_is_tied_for_ever_leaves_no_radius():
    """Two equal rows of the head: their gap never moves, so only its sign, which is 0, decides."""
    head = np.float32([[3, 1], [3, 1], [0, 0]])
    graph = read_graph(onnx_file([node("Gemm", ["x", "W"], ["logits"], transB=1)],
                                 shape=(2,), weights={"W": head}))  # fmt: skip
    pairs = np.linalg.norm(head[:, None] - head, axis=2) * (1 + 1e-9)
    row = {"index": [7], "label": [0], "prediction": [0], "rival": [1], "margin": [0.0],
           "radius": [0.0], "radius_float32": [np.nan]}  # fmt: skip
    rows, image = {name: np.array(column) for name, column in row.items()}, np.ones((1, 2), "f4")
    told = {"factors": [4.5] * len(graph.steps), "pairs": pairs, "float32": None}
    check_radii(graph, image, rows, **told)
    for claimed in (0.5, 5e-324):
        with pytest.raises(VerificationError, match=r"example 7 has radius .* at most 0\.0"):
            check_radii(graph, image, rows | {"radius": np.array([claimed])}, **told)
