"""Files that look like classifiers and whose function is not fixed, or that would not fit."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from models.errors import ModelError
from models.proof.reading.reader import read_program
from tests.oracles import onnx_file

node = helper.make_node
W = np.arange(24, dtype=np.float32).reshape(3, 8)
MARGIN = node("Gemm", ["x", "W"], ["logits"], transB=1)


def file(*nodes, shape=(8,), **weights):
    return onnx_file([*nodes], shape=shape, weights=weights)


def changed(change, *nodes, **weights):
    """A file after `change` was made to its model."""
    model = onnx.load_from_string(file(*(nodes or [MARGIN]), **(weights or {"W": W})))
    change(model)
    return model.SerializeToString()


def two_opsets(model):
    model.opset_import.append(helper.make_opsetid("ai.onnx", 13))


def no_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 0


def unknown_type(model):
    model.graph.input[0].type.tensor_type.elem_type = 99


def control_character(model):
    model.graph.node[0].name = "gemm\x1b[2J"


def negative_shape(model):
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([-3, -8])


def cut_off_weight(model):
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-3]


def huge_claim(model):
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([2**14, 2**15])


def two_makers(model):
    model.graph.node.append(node("Relu", ["x"], ["logits"]))


def two_values(model):
    constant = node("Constant", [], ["W"], value_float=1.0, value_int=1)
    model.graph.node.insert(0, constant)
    del model.graph.initializer[:]


REFUSED = {
    "two opsets": (changed(two_opsets), "opset 20 and 13; accepted is one"),
    "a batch of no examples": (changed(no_batch), "fixed length 0"),
    "a type that ONNX does not know": (changed(unknown_type), "type number 99"),
    "a name that rewrites the terminal": (changed(control_character), "printable characters"),
    "a weight of negative shape": (changed(negative_shape), "is negative"),
    "a weight that is cut off": (changed(cut_off_weight), "weight W cannot be read"),
    "a claim of 2 GB in a tiny file": (changed(huge_claim), "weight W cannot be read"),
    "a tensor made twice": (changed(two_makers), "not valid ONNX"),
    "a constant of two values": (changed(two_values), "found 2 values"),
    "an attribute that the operator lacks": (
        file(node("Gemm", ["x", "W"], ["logits"], transB=1, axis=1), W=W),
        "not valid ONNX",
    ),
    "more values than fit": (
        file(node("Relu", ["x"], ["a"]), node("Abs", ["a"], ["logits"]), shape=(2**13, 2**13)),
        "entries or more",
    ),
    "more classes than pairs can be bounded of": (
        file(node("MatMul", ["x", "V"], ["logits"]), V=np.ones((8, 5000), "f4")),
        "4096 at most",
    ),
    "axes that are left out": (
        file(
            node("Unsqueeze", ["x", "none"], ["u"]),
            node("Squeeze", ["u", "none"], ["logits"]),
            none=np.array([], dtype=np.int64),
        ),
        "no axes",
    ),
    "axes of another type": (
        file(
            node("Unsqueeze", ["x", "one"], ["u"]),
            node("Squeeze", ["u", "one"], ["logits"]),
            one=np.array([1], dtype=np.int32),
        ),
        "axes of type int32",
    ),
    "a bias of another shape": (
        file(node("Gemm", ["x", "W", "b"], ["logits"], transB=1), W=W, b=np.ones((3, 1), "f4")),
        "bias of shape",
    ),
    "a 0 in the shape where there is no axis": (
        file(
            node("Reshape", ["x", "to"], ["logits"]), to=np.array([0, 8, 0], dtype=np.int64)
        ),
        "a 0 where the example has an axis",
    ),
    "a shape without axes": (
        file(node("Reshape", ["x", "to"], ["logits"]), to=np.array([], dtype=np.int64)),
        "-1 or 0 for the batch",
    ),
    "a number of parts that are not there": (
        file(
            node("Split", ["x"], ["a", "b"], axis=1, num_outputs=3),
            node("Add", ["a", "b"], ["logits"]),
        ),
        "3 parts; accepted is its 2 outputs",
    ),
    "a subgraph": (
        file(node("If", ["x"], ["logits"])),
        r"\(If\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_in_one_printable_line(name):
    content, message = REFUSED[name]
    with pytest.raises(ModelError, match=message) as caught:
        read_program(content)
    assert str(caught.value).isprintable()


def test_what_the_cases_are_made_of_is_accepted():
    assert read_program(changed(lambda model: None)).classes == 3
    constant = numpy_helper.from_array(W, "W")
    content = file(node("Constant", [], ["W"], value=constant), MARGIN)
    assert read_program(content).classes == 3
