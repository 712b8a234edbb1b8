"""What a file does behind its logits, and shape arithmetic before them."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.errors import ModelError
from models.proof.bounds import prove
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests.oracles import images, onnx_file

node = helper.make_node
W = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
HEAD = node("Gemm", ["x", "W"], ["h"], transB=1)


def file(*nodes, shape=(8,), **weights):
    kind = TensorProto.INT64 if nodes[-1].op_type == "ArgMax" else TensorProto.FLOAT
    return onnx_file([*nodes], shape=shape, weights={"W": W, **weights}, output_type=kind)


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_the_certificate_is_made_on_what_a_softmax_reads_and_says_so(kind):
    program = read_program(file(HEAD, node(kind, ["h"], ["logits"], axis=1)))
    assert program.ending == (kind,)
    assert [operator.kind for operator in program.operators] == ["Gemm"]
    bounds = prove(program)
    assert bounds.float32 is None
    assert bounds.refused_float32.startswith(kind)
    assert (
        program.sha256 == read_program(file(node("Gemm", ["x", "W"], ["logits"], transB=1))).sha256
    )


def test_an_argmax_keeps_the_float32_radius():
    program = read_program(file(HEAD, node("ArgMax", ["h"], ["logits"], axis=-1)))
    assert program.ending == ("ArgMax",)
    assert prove(program).float32 is not None


@pytest.mark.parametrize(
    ("kind", "attributes"), [("Softmax", {"axis": 0}), ("ArgMax", {}), ("LogSoftmax", {"axis": -2})]
)
def test_an_ending_along_another_axis_is_refused(kind, attributes):
    with pytest.raises(ModelError, match="axis of the classes"):
        read_program(file(HEAD, node(kind, ["h"], ["logits"], **attributes)))


def ints(*values):
    return np.array(values, dtype=np.int64)


VIEW = (
    node("Shape", ["x"], ["s"]),
    node("Gather", ["s", "zero"], ["b"], axis=0),
    node("Unsqueeze", ["b", "axes"], ["bs"]),
)
CONSTANTS = {"zero": np.array(0, dtype=np.int64), "axes": ints(0)}


def test_the_shape_arithmetic_of_an_exporter_is_folded():
    content = file(
        *VIEW,
        node("Slice", ["s", "one", "three"], ["tail"]),
        node("ReduceProd", ["tail"], ["size"], keepdims=1),
        node("Concat", ["bs", "size"], ["to"], axis=0),
        node("Reshape", ["x", "to"], ["h"]),
        node("Gemm", ["h", "W"], ["logits"], transB=1),
        shape=(2, 4),
        one=ints(1),
        three=ints(3),
        **CONSTANTS,
    )
    program = read_program(content)
    assert [operator.kind for operator in program.operators] == ["Reshape", "Gemm"]
    x = images(5, (2, 4))
    found, expected = logits_in_float64(program, x), run_onnx(content, x)["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


ARITHMETIC = {
    "batch times a length": (
        (*VIEW, node("Mul", ["bs", "eight"], ["to"]), node("Reshape", ["x", "to"], ["logits"])),
        "arithmetic with the length of the batch",
    ),
    "batch compared with a length": (
        (
            *VIEW,
            node("Equal", ["bs", "eight"], ["same"]),
            node("Where", ["same", "eight", "bs"], ["to"]),
            node("Reshape", ["x", "to"], ["logits"]),
        ),
        "comparison with the length of the batch",
    ),
    "batch moved away": (
        (
            *VIEW,
            node("Concat", ["eight", "bs"], ["to"], axis=0),
            node("Reshape", ["x", "to"], ["logits"]),
        ),
        "-1 or 0 for the batch",
    ),
    "weights made of whole numbers": (
        (
            node("Cast", ["eight"], ["c"], to=TensorProto.FLOAT),
            node("Mul", ["x", "c"], ["logits"]),
        ),
        "cast to another type",
    ),
    "the number that stands for the batch": (
        (
            node("Constant", [], ["c"], value=numpy_helper.from_array(ints(2**61 - 1, 8))),
            node("Reshape", ["x", "c"], ["logits"]),
        ),
        "accepted are smaller whole numbers",
    ),
    "a shape of the input's values": (
        (node("Cast", ["x"], ["c"], to=TensorProto.INT64), node("Reshape", ["x", "c"], ["logits"])),
        "shapes and whole numbers alone",
    ),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_shapes_that_depend_on_batch_or_input_are_refused(name):
    nodes, message = ARITHMETIC[name]
    with pytest.raises(ModelError, match=message):
        read_program(file(*nodes, eight=ints(8), **CONSTANTS))
