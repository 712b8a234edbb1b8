from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from models.errors import CertifyError, ModelError
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests.oracles import images, onnx_file, orthogonal_classifier
from tests.strategies import draws

node = helper.make_node
RNG = np.random.default_rng(0)
W = RNG.standard_normal((3, 8)).astype(np.float32)
V = RNG.standard_normal((8, 8)).astype(np.float32)
C = RNG.standard_normal((1, 8)).astype(np.float32)
B = RNG.standard_normal(3).astype(np.float32)


def ints(*values):
    return np.array(values, dtype=np.int64)


def flat(*nodes, **weights):
    """Nodes from `h`, the flat input of 8 entries, to `g`; then a head."""
    return onnx_file(
        [
            node("Flatten", ["x"], ["h"]),
            *nodes,
            node("Gemm", ["g", "W", "B"], ["logits"], transB=1),
        ],
        shape=(2, 2, 2),
        weights={"W": W, "B": B, **weights},
    )


ACCEPTED = {
    "gemm, not transposed": flat(node("Gemm", ["h", "V"], ["g"]), V=V),
    "gemm, scalar bias": flat(node("Gemm", ["h", "V", "c"], ["g"]), V=V, c=C[:, :1]),
    "matmul": flat(node("MatMul", ["h", "V"], ["g"]), V=V),
    "matmul, transposed weight": flat(
        node("Transpose", ["V"], ["Vt"]), node("MatMul", ["h", "Vt"], ["g"]), V=V
    ),
    "add": flat(node("Add", ["h", "C"], ["g"]), C=C),
    "add, constant first": flat(node("Add", ["C", "h"], ["g"]), C=C),
    "subtract": flat(node("Sub", ["h", "C"], ["g"]), C=C),
    "subtract from": flat(node("Sub", ["C", "h"], ["g"]), C=C),
    "multiply": flat(node("Mul", ["h", "C"], ["g"]), C=C),
    "divide": flat(node("Div", ["h", "C"], ["g"]), C=C),
    "relu": flat(node("Sub", ["h", "C"], ["s"]), node("Relu", ["s"], ["g"]), C=C),
    "abs": flat(node("Sub", ["h", "C"], ["s"]), node("Abs", ["s"], ["g"]), C=C),
    "neg": flat(node("Neg", ["h"], ["g"])),
    "leaky": flat(node("Sub", ["h", "C"], ["s"]), node("LeakyRelu", ["s"], ["g"], alpha=-2.5), C=C),
    "leaky, default slope": flat(
        node("Sub", ["h", "C"], ["s"]), node("LeakyRelu", ["s"], ["g"]), C=C
    ),
    "prelu": flat(
        node("Sub", ["h", "C"], ["s"]), node("PRelu", ["s", "P"], ["g"]), C=C, P=3 * C[0]
    ),
    "residual": flat(
        node("MatMul", ["h", "V"], ["v"]),
        node("Relu", ["v"], ["r"]),
        node("Add", ["h", "r"], ["g"]),
        V=V,
    ),
    "difference of branches": flat(
        node("MatMul", ["h", "V"], ["v"]), node("Sub", ["h", "v"], ["g"]), V=V
    ),
    "sum of three": flat(
        node("MatMul", ["h", "V"], ["v"]), node("Sum", ["h", "v", "h"], ["g"]), V=V
    ),
    "split and concatenate": flat(
        node("Split", ["h"], ["a", "b"], axis=1, num_outputs=2),
        node("Abs", ["b"], ["c"]),
        node("Concat", ["c", "a"], ["g"], axis=-1),
    ),
    "split in given parts": flat(
        node("Split", ["h", "parts"], ["a", "b"], axis=-1),
        node("Concat", ["b", "a"], ["g"], axis=1),
        parts=ints(3, 5),
    ),
    "reshape and transpose": flat(
        node("Reshape", ["h", "to"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        node("Reshape", ["t", "back"], ["g"]),
        to=ints(0, 2, 4),
        back=ints(-1, 8),
    ),
    "unsqueeze and squeeze": flat(
        node("Unsqueeze", ["h", "one"], ["u"]),
        node("Squeeze", ["u", "one"], ["g"]),
        one=ints(1),
    ),
    "identity and dropout": flat(node("Identity", ["h"], ["i"]), node("Dropout", ["i"], ["g"])),
    "constant node": flat(
        node("Constant", [], ["c"], value=numpy_helper.from_array(C)),
        node("Add", ["h", "c"], ["g"]),
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_program_computes_what_onnx_runtime_computes(name):
    program = read_program(ACCEPTED[name])
    inputs = images(7, (2, 2, 2))
    found = logits_in_float64(program, inputs)
    expected = run_onnx(ACCEPTED[name], inputs)["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def bare(*nodes, shape=(8,), **weights):
    return onnx_file(nodes, shape=shape, weights=weights)


MARGIN = node("Gemm", ["x", "W"], ["logits"], transB=1)
REFUSED = {
    "two unknown operators at once": (
        flat(node("Exp", ["h"], ["s"], name="first"), node("Round", ["s"], ["g"], name="then")),
        r"first \(Exp\), then \(Round\).*known operators are",
    ),
    "foreign domain": (
        flat(node("Relu", ["h"], ["g"], domain="com.example")),
        r"com\.example\.Relu",
    ),
    "product of activations": (flat(node("Mul", ["h", "h"], ["g"])), r"g \(Mul\) alone"),
    "matmul of activations": (
        bare(node("MatMul", ["x", "x"], ["logits"]), shape=(2, 2)),
        "weight that depends on the input",
    ),
    "divisor that depends on the input": (
        flat(node("Div", ["C", "h"], ["g"]), C=C),
        "divisor that depends",
    ),
    "divisor 0": (flat(node("Div", ["h", "C"], ["g"]), C=0 * C), "divisor of 0"),
    "a broadcast that moves the batch": (
        bare(node("Mul", ["x", "C"], ["logits"]), shape=(1,), C=C[None, :, :4]),
        "the batch left alone",
    ),
    "slopes that enlarge": (
        bare(node("PRelu", ["x", "C"], ["logits"]), shape=(1,), C=C[:, :4]),
        "slopes that broadcast to it",
    ),
    "a constant for each example": (
        flat(node("Add", ["h", "C"], ["g"]), C=np.repeat(C, 2, axis=0)),
        "the batch left alone",
    ),
    "matmul with the constant on the left": (
        bare(node("MatMul", ["C", "x"], ["logits"]), C=np.ones((3, 2), "f4")),
        "operand 0 that is a constant",
    ),
    "batch reshaped away": (
        flat(node("Reshape", ["h", "to"], ["g"]), to=ints(1, -1)),
        "-1 or 0 for the batch",
    ),
    "batch transposed": (
        bare(node("Transpose", ["x"], ["logits"], perm=[1, 0])),
        "leaves the batch first",
    ),
    "batch flattened": (bare(node("Flatten", ["x"], ["logits"], axis=0)), "moves the batch"),
    "batch concatenated": (
        bare(node("Concat", ["x", "x"], ["logits"], axis=0)),
        "axis behind it",
    ),
    "batch split": (
        bare(node("Split", ["x"], ["logits", "rest"], axis=0, num_outputs=2)),
        "axis behind it",
    ),
    "transposed input": (
        bare(node("Gemm", ["x", "W"], ["logits"], transA=1), W=W.T),
        "mixes the batch",
    ),
    "alpha": (bare(node("Gemm", ["x", "W"], ["logits"], alpha=np.inf, transB=1), W=W), "finite"),
    "branches of two shapes": (
        bare(
            node("MatMul", ["x", "W"], ["a"]),
            node("Add", ["a", "x"], ["logits"]),
            W=W.T,
        ),
        "accepted is one that broadcasts",
    ),
    "weights of another shape": (bare(MARGIN, W=W[:, :5]), "Gemm"),
    "float64 weights": (bare(MARGIN, W=W.astype("f8")), "float64; accepted is float32"),
    "NaN weight": (bare(MARGIN, W=W * np.nan), "NaN or infinite"),
    "infinite weight": (bare(MARGIN, W=W * np.inf), "NaN or infinite"),
    "no row in the head": (bare(MARGIN, W=W[:0]), "empty"),
    "one class": (bare(MARGIN, W=W[:1]), "two classes or more"),
    "arithmetic between constants": (
        bare(node("Neg", ["V"], ["W"]), MARGIN, V=W),
        "arithmetic between constants",
    ),
    "training dropout": (
        flat(node("Dropout", ["h", "", "on"], ["g"]), on=np.array(True)),
        "training mode",
    ),
    "a weight made of the input": (
        bare(node("Relu", ["x"], ["W"]), MARGIN),
        "weight that depends on the input",
    ),
    "an output that is a constant": (
        bare(node("Identity", ["W"], ["logits"]), W=W),
        "does not depend on the input",
    ),
    "a tensor that nothing makes": (bare(node("Relu", ["y"], ["logits"])), "no operator before"),
    "a cycle": (
        bare(node("Add", ["x", "b"], ["a"]), node("Add", ["x", "a"], ["b"]),
             node("Relu", ["b"], ["logits"])),
        "no operator before",
    ),
    "opset too old": (onnx_file([MARGIN], shape=(8,), weights={"W": W}, opset=12), "opset 12"),
    "opset too new": (onnx_file([MARGIN], shape=(8,), weights={"W": W}, opset=24), "opset 24"),
    "float16 input": (
        onnx_file([MARGIN], shape=(8,), weights={"W": W}, input_type=TensorProto.FLOAT16),
        "FLOAT16; accepted is FLOAT",
    ),
    "unknown length": (onnx_file([MARGIN], shape=("n",), weights={"W": W}), "known, positive"),
    "two outputs, none named logits": (
        onnx_file(
            [node("Relu", ["x"], ["a"]), node("Abs", ["x"], ["b"])], shape=(8,), outputs="ab"
        ),
        "one of them named 'logits'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_function_that_is_not_fixed_or_not_bounded_is_refused(name):
    content, message = REFUSED[name]
    with pytest.raises(ModelError, match=message) as caught:
        read_program(content)
    assert "\n" not in str(caught.value)


def test_a_weight_that_a_caller_may_override_is_refused():
    model = onnx.load_from_string(bare(MARGIN, W=W))
    model.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, [3, 8]))
    with pytest.raises(ModelError, match="a caller may override"):
        read_program(model.SerializeToString())


def test_two_inputs_are_refused():
    model = onnx.load_from_string(bare(MARGIN, W=W))
    model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]))
    with pytest.raises(ModelError, match="exactly one"):
        read_program(model.SerializeToString())


def test_a_weight_in_another_file_is_refused():
    model = onnx.load_from_string(bare(MARGIN, W=W))
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(ModelError, match="another file"):
        read_program(model.SerializeToString())


def test_functions_of_the_file_are_refused():
    model = onnx.load_from_string(bare(MARGIN, W=W))
    model.functions.add(name="Relu", domain="own")
    with pytest.raises(ModelError, match="functions of its own"):
        read_program(model.SerializeToString())


def test_a_dead_branch_is_ignored():
    content = onnx_file(
        [MARGIN, node("Sigmoid", ["x"], ["s"]), node("TopK", ["s", "k"], ["v", "i"])],
        shape=(8,),
        weights={"W": W, "k": ints(1)},
    )
    assert [operator.kind for operator in read_program(content).operators] == ["Gemm"]


def test_the_hash_follows_the_weights_and_not_the_names():
    content = orthogonal_classifier()
    program = read_program(content)
    renamed = onnx.load_from_string(content)
    for entry in renamed.graph.node:
        entry.name += "_again"
    assert read_program(renamed.SerializeToString()).sha256 == program.sha256
    changed = onnx.load_from_string(content)
    weight = numpy_helper.to_array(changed.graph.initializer[0]).copy()
    weight.flat[0] = np.nextafter(weight.flat[0], np.float32(9))
    changed.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(weight, changed.graph.initializer[0].name)
    )
    assert read_program(changed.SerializeToString()).sha256 != program.sha256


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x00" * 64, b"not an onnx file"])
def test_what_is_no_model_is_refused(content):
    with pytest.raises(ModelError):
        read_program(content)


@draws(test=60, fuzz=2000)
@given(st.integers(0, 2**32 - 1))
def test_a_damaged_file_gives_a_program_or_a_one_line_refusal(seed):
    rng = np.random.default_rng(seed)
    content = bytearray(orthogonal_classifier(width=8))
    for _ in range(rng.integers(1, 8)):
        content[rng.integers(len(content))] = rng.integers(256)
    if rng.random() < 0.3:
        content = content[: rng.integers(len(content))]
    with suppress(CertifyError):  # anything else is a crash
        read_program(bytes(content))
