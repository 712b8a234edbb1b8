"""Every operator of the table, in opsets that have it: what ONNX Runtime computes, and slopes."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from models.proof.reading.reader import read_program
from models.proof.reading.rules import _LOWER
from tests.oracles import check_form, form, images
from tests.strategies import STEPS, Sketch

OPSETS = range(13, 24)
SHAPE = (2, 4, 4)
node = helper.make_node
rng = np.random.default_rng(0)


def numbers(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def whole(*entries):
    return np.array(entries, dtype=np.int64)


W, K, C = numbers(4, 3), numbers(3, 2, 3, 3), numbers(2, 1, 1)
POSITIVE = np.abs(numbers(2)) + np.float32(0.5)
CHANNELS = {"s": numbers(2), "b": numbers(2), "m": numbers(2), "v": POSITIVE}


def one(kind, *operands, attributes=None, **weights):
    return [node(kind, ["x", *operands], ["g"], **(attributes or {}))], weights


def l2_pooling(root):
    nodes = [
        node("Pow", ["x", "two"], ["square"]),
        node("AveragePool", ["square"], ["mean"], kernel_shape=[2, 2], strides=[2, 2]),
        node(root, ["mean", "half"][: 2 if root == "Pow" else 1], ["g"]),
    ]
    return nodes, {"two": np.float32(2), "half": np.float32(0.5)}


def signed_roots():
    """Sign(a) · Relu(Abs(a)), as an Lp pooling is exported."""
    nodes = [
        node("Pow", ["x", "two"], ["square"]),
        node("AveragePool", ["square"], ["mean"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Sign", ["mean"], ["sign"]),
        node("Abs", ["mean"], ["size"]),
        node("Relu", ["size"], ["kept"]),
        node("Mul", ["sign", "kept"], ["signed"]),
        node("Mul", ["signed", "four"], ["sum"]),
        node("Pow", ["sum", "half"], ["g"]),
    ]
    return nodes, {"two": np.float32(2), "half": np.float32(0.5), "four": np.float32(4)}


WINDOW = {"kernel_shape": [2, 2], "strides": [2, 1], "pads": [0, 1, 1, 0]}
CASES = {
    **{kind: one(kind, "c", c=C) for kind in ("Add", "Sub", "Mul")},
    **{kind: one(kind, "c", c=np.float32([0.1])) for kind in ("Max", "Min")},
    "Sum": one("Sum", "x"),
    "Concat": one("Concat", "x", attributes={"axis": 1}),
    "Div": one("Div", "c", c=np.abs(C) + np.float32(0.5)),
    "Gemm": (
        [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], ["g"])],
        {"w": numbers(32, 3)},
    ),
    "MatMul": one("MatMul", "w", w=W),
    "Conv": one("Conv", "k", k=K, attributes={"pads": [1, 0, 1, 2]}),
    "ConvTranspose": one("ConvTranspose", "k", k=numbers(2, 3, 3, 3)),
    "BatchNormalization": one("BatchNormalization", "s", "b", "m", "v", **CHANNELS),
    "PRelu": one("PRelu", "c", c=C),
    "Clip": one("Clip", "l", "h", l=np.float32(-0.2), h=np.float32(0.3)),
    "Reshape": one("Reshape", "t", t=whole(0, -1, 2)),
    "Squeeze": (
        [node("Unsqueeze", ["x", "t"], ["u"]), node("Squeeze", ["u", "t"], ["g"])],
        {"t": whole(1)},
    ),
    "Unsqueeze": one("Unsqueeze", "t", t=whole(1)),
    "Transpose": one("Transpose", attributes={"perm": [0, 2, 3, 1]}),
    "Split": (
        [node("Split", ["x", "t"], ["a", "b"], axis=2), node("Sub", ["a", "b"], ["g"])],
        {"t": whole(2, 2)},
    ),
    "DepthToSpace": (
        [
            node("SpaceToDepth", ["x"], ["d"], blocksize=2),
            node("DepthToSpace", ["d"], ["g"], blocksize=2),
        ],
        {},
    ),
    "SpaceToDepth": one("SpaceToDepth", attributes={"blocksize": 2}),
    "Slice": one("Slice", "a", "e", "d", "t", a=whole(3), e=whole(-4), d=whole(2), t=whole(-2)),
    "Gather": one("Gather", "i", i=whole(1, 1, 0, 3), attributes={"axis": 3}),
    "Expand": (
        [
            node("ReduceMax", ["x"], ["m"], axes=[1]),
            node("Expand", ["m", "t"], ["g"]),
        ],
        {"t": whole(1, 3, 1, 1)},
    ),
    "Tile": one("Tile", "t", t=whole(1, 1, 2, 1)),
    "Pad": one("Pad", "t", t=whole(0, 0, 1, 2, 0, 0, 0, 1), attributes={"mode": "reflect"}),
    "Resize": one(
        "Resize",
        "",
        "z",
        z=np.array([1, 1, 2, 2], np.float32),
        attributes={
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
    ),
    "MaxPool": one("MaxPool", attributes=WINDOW),
    "AveragePool": one("AveragePool", attributes=WINDOW),
    "LpPool": one("LpPool", attributes=WINDOW | {"p": 2}),
    "ReduceSum": one("ReduceSum", "t", t=whole(2), attributes={"keepdims": 0}),
    "TopK": (
        [node("TopK", ["x", "t"], ["g", "places"], axis=3)],
        {"t": whole(2)},
    ),
    "Pow": l2_pooling("Pow"),
    "Sqrt": l2_pooling("Sqrt"),
    "Sign": signed_roots(),
}
ALONE = (
    "Relu", "Abs", "Neg", "LeakyRelu", "Tanh", "Sigmoid", "Softplus", "Softsign", "Erf", "Atan",
    "Sin", "Cos", "Elu", "Selu", "Celu", "Gelu", "Mish", "HardSwish", "HardSigmoid", "Softmax",
    "Flatten", "Identity", "Dropout", "GlobalMaxPool", "GlobalAveragePool", "ReduceMax",
    "ReduceMin", "ReduceMean", "ReduceL2",
)  # fmt: skip
REDUCED = ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceL2")
AXES_ARE_AN_OPERAND = 18


def case(kind, opset):
    """A file of one operator; axes of reductions moved where the opset wants them."""
    nodes, weights = CASES[kind] if kind in CASES else one(kind)
    if kind in REDUCED:
        nodes, weights = [node(kind, ["x"], ["g"], axes=[3])], {}
    if opset >= AXES_ARE_AN_OPERAND:
        nodes, weights = _with_axes_as_operands(nodes, weights)
    return form(*nodes, shape=SHAPE, opset=opset, **weights)


def _with_axes_as_operands(nodes, weights):
    moved, more = [], dict(weights)
    for each in nodes:
        axes = [entry for entry in each.attribute if entry.name == "axes"]
        if each.op_type in REDUCED and axes:
            more["axes"] = np.array(axes[0].ints, dtype=np.int64)
            moved.append(node(each.op_type, [each.input[0], "axes"], list(each.output)))
        else:
            moved.append(each)
    return moved, more


def since(kind):
    """The first opset, from 13 on, that has an operator."""
    versions = [schema.since_version for schema in onnx.defs.get_all_schemas_with_history()
                if schema.name == kind and schema.domain == ""]  # fmt: skip
    return max(OPSETS[0], min(versions))


PAIRS = [
    (kind, opset)
    for kind in sorted({*CASES, *ALONE})
    for opset in sorted({since(kind), 17, 18, 20, OPSETS[-1]})
    if opset >= since(kind)
]


def test_no_operator_of_the_table_is_without_a_case():
    assert {*CASES, *ALONE} == set(_LOWER)


def test_random_programs_are_drawn_from_the_whole_table():
    drawn = set()
    for seed in range(60):
        for step in STEPS:
            for shape in ((6,), (2, 5), (4, 4, 4), (1, 4, 4)):
                sketch = Sketch(rng=np.random.default_rng((seed, *shape)), shape=shape)
                step(sketch)
                drawn |= {each.op_type for each in sketch.nodes}
    drawn |= {"Gemm", "Identity", "Flatten"}  # at the end of a program
    assert set(_LOWER) - drawn == set()


@pytest.mark.parametrize(("kind", "opset"), PAIRS)
def test_a_program_computes_what_onnx_runtime_computes_and_has_slopes(kind, opset):
    content = case(kind, opset)
    assert kind in {each.op_type for each in onnx.load_from_string(content).graph.node}
    check_form(content)
    program = read_program(content)
    inputs = torch.from_numpy(images(3, SHAPE).astype(np.float64) - 0.5).requires_grad_()
    (slope,) = torch.autograd.grad(program(inputs).square().sum(), inputs)
    assert slope.isfinite().all()
    assert slope.any()
