"""Groups of operators: what is recognised, what only looks like it, and who reads inside."""

import numpy as np
import pytest
import torch
from onnx import helper

from models.errors import ModelError
from models.proof.bounds import prove
from models.proof.lipschitz import walk
from models.proof.operators.powers import Root, Square
from models.proof.program import Program
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from models.proof.upward import FLOAT32
from tests.oracles import images, onnx_file, orthogonal, stretch_seen

node = helper.make_node
SIZE = 8


def ints(*entries):
    return np.array(entries, dtype=np.int64)


def floats(entries):
    return np.asarray(entries, dtype=np.float32)


def file(*nodes, shape=(SIZE,), **weights):
    return onnx_file(nodes, shape=shape, weights=weights)


def groups(content):
    """Kinds of the steps that are groups, and the bound of the last step."""
    found = walk(read_program(content))
    kinds = {operator.result: operator.kind for operator in found.program.operators}
    named = [step.kind for step in found.steps if step.kind != kinds[step.result]]
    return named, found.steps[-1].lipschitz_bound


def steepest_slope(content, *, seed=0, rounds=30, at=None, step=1e-3):
    """Largest stretch of a pair of near inputs around 0 that power iteration finds, in float64."""
    program = read_program(content)
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(64, *program.input_shape, generator=noise, dtype=torch.float64)
    x = x if at is None else at
    return stretch_seen(program, x, noise, rounds=rounds, step=step)


# MaxMin

PAIRED = {
    "reductions, as torchlip's GroupSort2": (
        node("Reshape", ["x", "pairs"], ["v"]),
        node("ReduceMin", ["v", "last"], ["low"], keepdims=1),
        node("ReduceMax", ["v", "last"], ["high"], keepdims=1),
        node("Concat", ["low", "high"], ["c"], axis=2),
        node("Reshape", ["c", "flat"], ["logits"]),
    ),
    "reductions that are stacked": (
        node("Reshape", ["x", "halves"], ["v"]),
        node("ReduceMax", ["v", "first"], ["high"], keepdims=0),
        node("ReduceMin", ["v", "first"], ["low"], keepdims=0),
        node("Unsqueeze", ["high", "last"], ["h"]),
        node("Unsqueeze", ["low", "last"], ["l"]),
        node("Concat", ["h", "l"], ["c"], axis=2),
        node("Reshape", ["c", "flat"], ["logits"]),
    ),
    "halves, as orthogonium's MaxMin": (
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("Max", ["a", "b"], ["high"]),
        node("Min", ["b", "a"], ["low"]),
        node("Concat", ["high", "low"], ["logits"], axis=1),
    ),
    "every other entry, sliced twice": (
        node("Slice", ["x", "zero", "end", "first", "two"], ["a"]),
        node("Slice", ["x", "first", "end", "first", "two"], ["b"]),
        node("Slice", ["x", "zero", "end", "first", "two"], ["a2"]),
        node("Slice", ["x", "first", "end", "first", "two"], ["b2"]),
        node("Max", ["a", "b"], ["high"]),
        node("Min", ["a2", "b2"], ["low"]),
        node("Concat", ["low", "high"], ["logits"], axis=1),
    ),
}
LENGTHS = {
    "pairs": ints(-1, SIZE // 2, 2),
    "halves": ints(-1, 2, SIZE // 2),
    "flat": ints(-1, SIZE),
    "first": ints(1),
    "last": ints(2),
    "zero": ints(0),
    "end": ints(SIZE),
    "two": ints(2),
    "twice": ints(1, 2),
    "same": ints(0, 0, 1),
}


@pytest.mark.parametrize("name", PAIRED)
def test_maxmin_is_recognised_and_stretches_nothing(name):
    content = file(*PAIRED[name], **LENGTHS)
    kinds, bound = groups(content)
    assert kinds == ["MaxMin"]
    assert 1 <= bound <= 1 + 1e-12
    found = steepest_slope(content)
    assert 0.999 * bound <= found <= bound * (1 + 1e-9)
    x = images(5, (SIZE,)) - np.float32(0.5)
    computed = read_program(content)(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(computed, run_onnx(content, x)["logits"])


NOT_PAIRED = {
    "one entry a group, whose largest and least are the same": (
        node("Unsqueeze", ["x", "last"], ["v"]),
        node("ReduceMin", ["v", "last"], ["low"], keepdims=0),
        node("ReduceMax", ["v", "last"], ["high"], keepdims=0),
        node("Concat", ["low", "high"], ["logits"], axis=1),
    ),
    "the largest of pairs and the least of halves": (
        node("Reshape", ["x", "pairs"], ["v"]),
        node("Reshape", ["x", "halves"], ["w"]),
        node("ReduceMax", ["v", "last"], ["high"], keepdims=0),
        node("ReduceMin", ["w", "first"], ["low"], keepdims=0),
        node("Concat", ["low", "high"], ["logits"], axis=1),
    ),
    "the largest twice": (
        node("Reshape", ["x", "pairs"], ["v"]),
        node("ReduceMax", ["v", "last"], ["high"], keepdims=0),
        node("ReduceMax", ["v", "last"], ["again"], keepdims=0),
        node("Concat", ["high", "again"], ["logits"], axis=1),
    ),
    "a largest that is repeated": (
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("Max", ["a", "b"], ["high"]),
        node("Min", ["b", "a"], ["low"]),
        node("Tile", ["high", "twice"], ["often"]),
        node("Concat", ["often", "low"], ["logits"], axis=1),
    ),
    "a least whose entries are picked twice": (
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("Max", ["a", "b"], ["high"]),
        node("Min", ["b", "a"], ["low"]),
        node("Gather", ["low", "same"], ["picked"], axis=1),
        node("Concat", ["high", "picked"], ["logits"], axis=1),
    ),
    "neighbours that overlap": (
        node("Slice", ["x", "zero", "seven", "first"], ["a"]),
        node("Slice", ["x", "first", "end", "first"], ["b"]),
        node("Max", ["a", "b"], ["high"]),
        node("Min", ["a", "b"], ["low"]),
        node("Concat", ["low", "high"], ["logits"], axis=1),
    ),
    "another operator on one side": (
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("Neg", ["b"], ["c"]),
        node("Max", ["a", "b"], ["high"]),
        node("Min", ["a", "c"], ["low"]),
        node("Concat", ["high", "low"], ["logits"], axis=1),
    ),
}


@pytest.mark.parametrize("name", NOT_PAIRED)
def test_what_only_looks_like_maxmin_keeps_the_plain_rules(name):
    content = file(*NOT_PAIRED[name], seven=ints(7), **LENGTHS)
    kinds, bound = groups(content)
    assert kinds == []
    assert bound >= 2**0.5
    assert steepest_slope(content) <= bound * (1 + 1e-9)


# L2 pooling

POOLS = {
    "as LPPool2d is exported": (
        node("Pow", ["x", "two"], ["p"]),
        node("AveragePool", ["p"], ["a"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Sign", ["a"], ["s"]),
        node("Abs", ["a"], ["m"]),
        node("Relu", ["m"], ["r"]),
        node("Mul", ["s", "r"], ["g"]),
        node("Mul", ["g", "four"], ["c"]),
        node("Pow", ["c", "half"], ["h"]),
    ),
    "with a constant and Sqrt": (
        node("Mul", ["x", "x"], ["p"]),
        node("AveragePool", ["p"], ["a"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Mul", ["a", "four"], ["c"]),
        node("Add", ["c", "tiny"], ["e"]),
        node("Sqrt", ["e"], ["h"]),
    ),
    "with windows that overlap and a smaller divisor at the border": (
        node("Pow", ["x", "two"], ["p"]),
        node("AveragePool", ["p"], ["a"], kernel_shape=[3, 3], pads=[1] * 4),
        node("Sqrt", ["a"], ["h"]),
    ),
    "over a whole axis": (
        node("Pow", ["x", "two"], ["p"]),
        node("ReduceSum", ["p", "last"], ["a"], keepdims=1),
        node("Sqrt", ["a"], ["h"]),
    ),
    "the mean of a whole axis, divided": (
        node("Pow", ["x", "two"], ["p"]),
        node("ReduceMean", ["p"], ["a"], axes=[2, 3], keepdims=1),
        node("Div", ["a", "four"], ["c"]),
        node("Sqrt", ["c"], ["h"]),
    ),
}
NUMBERS = {
    "two": floats(2),
    "half": floats(0.5),
    "four": floats(4),
    "tiny": floats(1e-6),
    "last": ints(3),
}
FACTORS = {
    "as LPPool2d is exported": 1,
    "with a constant and Sqrt": 1,
    "over a whole axis": 1,
    "the mean of a whole axis, divided": 1 / 8,
}


def pooled(*nodes, **weights):
    flatten = node("Flatten", ["h"], ["logits"], axis=1)
    return onnx_file([*nodes, flatten], shape=(2, 4, 4), weights={**NUMBERS, **weights}, opset=17)


@pytest.mark.parametrize("name", POOLS)
def test_l2_pooling_is_a_norm_of_windows(name):
    content = pooled(*POOLS[name])
    kinds, bound = groups(content)
    assert kinds == ["L2 pooling"]
    at = torch.eye(32, dtype=torch.float64).reshape(32, 2, 4, 4) + 1e-9
    found = max(steepest_slope(content), steepest_slope(content, at=at))
    assert found <= bound * (1 + 1e-9)
    assert bound <= found * 1.001
    if name in FACTORS:
        assert bound == pytest.approx(FACTORS[name], rel=1e-12)
    x = images(5, (2, 4, 4)) - np.float32(0.5)
    x[0] = 0
    computed = read_program(content)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(computed, run_onnx(content, x)["logits"], atol=1e-6)


SQUARES = (
    node("Pow", ["x", "two"], ["p"]),
    node("AveragePool", ["p"], ["a"], kernel_shape=[2, 2], strides=[2, 2]),
)
ALONE = {
    "a square": ([node("Pow", ["x", "two"], ["h"])], r"\(Pow\)"),
    "a root": ([node("Sqrt", ["x"], ["h"])], r"\(Sqrt\)"),
    "a sign": ([node("Sign", ["x"], ["h"])], r"\(Sign\)"),
    "a product": ([node("Abs", ["x"], ["b"]), node("Mul", ["x", "b"], ["h"])], r"\(Mul\)"),
    "a negative scale": (
        [*SQUARES, node("Mul", ["a", "minus"], ["c"]), node("Sqrt", ["c"], ["h"])],
        r"\(Pow\).*\(Sqrt\)",
    ),
    "a negative constant": (
        [*SQUARES, node("Add", ["a", "minus"], ["c"]), node("Sqrt", ["c"], ["h"])],
        r"\(Pow\).*\(Sqrt\)",
    ),
    "a constant taken away": (
        [*SQUARES, node("Sub", ["a", "four"], ["c"]), node("Sqrt", ["c"], ["h"])],
        r"\(Pow\).*\(Sqrt\)",
    ),
    "a root of entries that are not squared": (
        [node("AveragePool", ["x"], ["a"], kernel_shape=[2, 2]), node("Sqrt", ["a"], ["h"])],
        r"\(Sqrt\)",
    ),
    "squares that something else reads, too": (
        [*SQUARES, node("Sqrt", ["a"], ["r"]), node("Add", ["a", "r"], ["h"])],
        r"\(Pow\)",
    ),
    "the sign of another tensor": (
        [
            *SQUARES,
            node("AveragePool", ["x"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Sign", ["b"], ["s"]),
            node("Abs", ["a"], ["m"]),
            node("Relu", ["m"], ["r"]),
            node("Mul", ["s", "r"], ["g"]),
            node("Sqrt", ["g"], ["h"]),
        ],
        r"\(Pow\).*\(Sign\).*\(Mul\).*\(Sqrt\)",
    ),
    "another exponent": ([node("Pow", ["x", "four"], ["h"])], "found the exponent 4.0; accepted"),
    "no exponent": ([node("Pow", ["x", "x"], ["h"])], "no single constant"),
}


@pytest.mark.parametrize("name", ALONE)
def test_powers_outside_l2_pooling_are_refused_when_the_file_is_read(name):
    nodes, message = ALONE[name]
    with pytest.raises(ModelError, match=message) as caught:
        read_program(pooled(*nodes, minus=floats(-1)))
    assert "accepted is" in str(caught.value)


def test_the_rounding_of_l2_pooling_is_bounded_where_squares_are_flushed():
    content = pooled(*POOLS["with a constant and Sqrt"], tiny=floats(0))
    program = read_program(content)
    rounding = walk(program).rounding(FLOAT32, cast=False)
    for scale in (1, 1e-3, 1e-19, 1e-22):  # squares below 1e-38 become 0
        x = images(20, (2, 4, 4)) * np.float32(scale)
        computed = run_onnx(content, x, optimised=False)["logits"].astype(np.float64)
        exact = program(torch.from_numpy(x.astype(np.float64))).numpy()
        errors = np.linalg.norm(computed - exact, axis=1)
        norms = np.linalg.norm(x.reshape(20, -1).astype(np.float64), axis=1)
        allowed = rounding.errors["logits"]
        assert (errors <= allowed.a + allowed.b * norms).all()
    assert errors.max() > 1e-23  # the case is real: a relative error alone would be far smaller


def test_a_root_that_runtimes_round_as_they_like_has_no_float32_radius():
    assert prove(read_program(pooled(*POOLS["with a constant and Sqrt"]))).float32 is not None
    refused = prove(read_program(pooled(*POOLS["as LPPool2d is exported"]))).refused_float32
    assert "how they round Pow" in refused


def test_a_square_and_a_root_of_the_same_kind_are_different_operators():
    named = {"name": "p", "kind": "Pow", "operands": ("x",), "result": "y"}
    programs = [
        Program("x", (2,), (operator,), ((2,),)) for operator in (Square(**named), Root(**named))
    ]
    assert programs[0].sha256 != programs[1].sha256


def test_the_gradient_of_a_norm_at_zero_is_zero():
    x = torch.zeros(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    total = read_program(pooled(*POOLS["as LPPool2d is exported"]))(x).sum()
    assert torch.equal(torch.autograd.grad(total, x)[0], torch.zeros_like(x))


# Concat of disjoint slices


def test_parts_of_disjoint_slices_count_by_the_largest():
    content = file(
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("MatMul", ["b", "W"], ["c"]),
        node("Abs", ["c"], ["d"]),
        node("Concat", ["a", "d"], ["logits"], axis=1),
        W=2 * orthogonal(4, 4, seed=0),
    )
    kinds, bound = groups(content)
    assert kinds == ["Concat of slices"]
    assert bound == pytest.approx(2, rel=1e-6)
    assert steepest_slope(content) <= bound * (1 + 1e-9)


def test_parts_that_share_an_entry_do_not():
    content = file(
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("Add", ["a", "b"], ["c"]),
        node("Mul", ["c", "root"], ["d"]),
        node("Concat", ["a", "d"], ["logits"], axis=1),
        root=floats([[0.5**0.5]]),
    )
    kinds, bound = groups(content)
    truth = steepest_slope(content)
    assert kinds == []
    assert truth > 1.3  # the largest part alone would give 1
    assert truth <= bound


def test_maxmin_beside_an_untouched_slice_stretches_nothing():
    # The older exporter merges the inner Concat into the outer one.
    content = file(
        node("Split", ["x", "parts"], ["a", "b", "c"], axis=1),
        node("Max", ["b", "c"], ["high"]),
        node("Min", ["b", "c"], ["low"]),
        node("Concat", ["a", "high", "low"], ["logits"], axis=1),
        parts=ints(2, 3, 3),
    )
    kinds, bound = groups(content)
    assert kinds == ["Concat of slices"]
    assert 1 <= bound <= 1 + 1e-12
    assert steepest_slope(content) <= bound * (1 + 1e-9)


def test_slices_of_slices_are_followed():
    content = file(
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("Split", ["b"], ["c", "d"], axis=1, num_outputs=2),
        node("Neg", ["d"], ["e"]),
        node("Concat", ["e", "c"], ["f"], axis=1),
        node("Concat", ["f", "a"], ["logits"], axis=1),
    )
    kinds, bound = groups(content)
    assert kinds == ["Concat of slices"]
    assert 1 <= bound <= 1 + 1e-12


def test_slices_inside_slices_are_walked_once_however_deep():
    """Two walks a level, one for errors and one for overflow, would be 2³⁰ here."""
    depth, nodes, constants = 30, [], {"zero": ints(0), "one": ints(1), "end": ints(2**31 - 1)}
    for level in range(depth):
        rest = f"inner{level}" if level else "x"
        nodes += [
            node("Slice", [rest, "zero", "one", "one"], [f"first{level}"]),
            node("Slice", [rest, "one", "end", "one"], [f"rest{level}"]),
            node("Relu", [f"rest{level}"], [f"inner{level + 1}"]),
        ]
    joined = f"inner{depth}"
    for level in reversed(range(depth)):
        nodes.append(node("Concat", [f"first{level}", joined], [f"joined{level}"], axis=1))
        joined = f"joined{level}"
    nodes.append(node("Identity", [joined], ["logits"]))
    kinds, bound = groups(file(*nodes, shape=(depth + 1,), **constants))
    assert kinds[-1] == "Concat of slices"
    assert 1 <= bound < 3


def test_a_mix_with_one_weight_a_channel_is_not_taken_for_a_convex_one():
    # a x + (1 - a) g(x) with a = (1, 0): x₁ and g(x)₂ = x₁ reach √2 together.
    swap = np.array([[0, 1], [1, 0]], dtype=np.float32)
    content = file(
        node("MatMul", ["x", "swap"], ["g"]),
        node("Mul", ["x", "a"], ["one"]),
        node("Mul", ["g", "b"], ["other"]),
        node("Add", ["one", "other"], ["logits"]),
        shape=(2,),
        swap=swap,
        a=floats([[1, 0]]),
        b=floats([[0, 1]]),
    )
    truth = steepest_slope(content)
    assert truth == pytest.approx(2**0.5, rel=1e-6)
    assert groups(content)[1] >= truth


# Who reads inside a group


def test_a_tensor_inside_a_group_keeps_the_plain_rules_for_other_readers():
    # low is inside MaxMin and read again outside: the sum may reach 1 + 1 and not less.
    content = file(
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("Max", ["a", "b"], ["high"]),
        node("Min", ["a", "b"], ["low"]),
        node("Concat", ["high", "low"], ["c"], axis=1),
        node("Concat", ["low", "low"], ["d"], axis=1),
        node("Add", ["c", "d"], ["logits"]),
    )
    found = walk(read_program(content))
    bounds = {step.result: step.lipschitz_bound for step in found.steps}
    assert bounds["c"] == pytest.approx(1, rel=1e-12)
    assert bounds["low"] >= 1
    assert "high" not in bounds
    assert steepest_slope(content) <= bounds["logits"]


def test_a_tensor_inside_a_group_may_be_the_source_of_another():
    content = file(
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("Max", ["a", "b"], ["high"]),
        node("Min", ["a", "b"], ["low"]),
        node("Concat", ["high", "low"], ["c"], axis=1),
        node("Split", ["low"], ["e", "f"], axis=1, num_outputs=2),
        node("Max", ["e", "f"], ["top"]),
        node("Min", ["e", "f"], ["bottom"]),
        node("Concat", ["bottom", "top"], ["g"], axis=1),
        node("Concat", ["c", "g"], ["logits"], axis=1),
    )
    found = walk(read_program(content))
    bounds = {step.result: step.lipschitz_bound for step in found.steps}
    assert {"c", "low", "g"} <= set(bounds)
    assert not {"high", "e", "f", "top", "bottom"} & set(bounds)
    assert steepest_slope(content) <= bounds["logits"] * (1 + 1e-9)


def test_a_square_inside_l2_pooling_that_another_group_reads_is_refused():
    with pytest.raises(ModelError, match=r"p \(Pow\) alone"):
        read_program(
            file(
                node("Pow", ["x", "two"], ["p"], name="p"),
                node("ReduceSum", ["p", "first"], ["n"], keepdims=1),
                node("Sqrt", ["n"], ["s"]),
                node("Split", ["p"], ["a", "b"], axis=1, num_outputs=2),
                node("Max", ["a", "b"], ["high"]),
                node("Min", ["a", "b"], ["low"]),
                node("Concat", ["high", "low"], ["c"], axis=1),
                node("Concat", ["c", "s"], ["logits"], axis=1),
                two=floats(2),
                first=ints(1),
            )
        )


# x less its mean


def centred(*nodes, shape=(2, 4, 4)):
    flatten = node("Flatten", ["h"], ["logits"], axis=1)
    return onnx_file([*nodes, flatten], shape=shape, weights=AXES, opset=20)


AXES = {
    "first": ints(1),
    "last": ints(3),
    "image": ints(2, 3),
    "turned": ints(1, 0),
}
CENTRED = {
    "over the image": (
        node("ReduceMean", ["x", "image"], ["m"], keepdims=1),
        node("Sub", ["x", "m"], ["h"]),
    ),
    "over the channels, turned around": (
        node("ReduceMean", ["x", "first"], ["m"], keepdims=1),
        node("Sub", ["m", "x"], ["h"]),
    ),
    "by a global pool": (
        node("GlobalAveragePool", ["x"], ["m"]),
        node("Sub", ["x", "m"], ["h"]),
    ),
}
NOT_CENTRED = {
    "the mean is added": (
        node("ReduceMean", ["x", "image"], ["m"], keepdims=1),
        node("Add", ["x", "m"], ["h"]),
    ),
    "the sum is taken off": (
        node("ReduceSum", ["x", "image"], ["m"], keepdims=1),
        node("Sub", ["x", "m"], ["h"]),
    ),
    "the largest is taken off": (
        node("ReduceMax", ["x", "image"], ["m"], keepdims=1),
        node("Sub", ["x", "m"], ["h"]),
    ),
    "the mean of the other channel": (
        node("ReduceMean", ["x", "image"], ["m"], keepdims=1),
        node("Gather", ["m", "turned"], ["o"], axis=1),
        node("Sub", ["x", "o"], ["h"]),
    ),
    "the means of rows lie along columns": (
        node("ReduceMean", ["x", "last"], ["m"], keepdims=1),
        node("Transpose", ["m"], ["o"], perm=[0, 1, 3, 2]),
        node("Sub", ["x", "o"], ["h"]),
    ),
    "the mean of another tensor": (
        node("Neg", ["x"], ["n"]),
        node("ReduceMean", ["n", "image"], ["m"], keepdims=1),
        node("Sub", ["x", "m"], ["h"]),
    ),
}


@pytest.mark.parametrize("name", CENTRED)
def test_taking_the_mean_off_is_a_projection(name):
    content = centred(*CENTRED[name])
    kinds, bound = groups(content)
    assert kinds == ["x less its mean"]
    found = steepest_slope(content)
    assert 0.999 * bound <= found <= bound * (1 + 1e-9)
    assert 1 <= bound <= 1 + 1e-12
    x = images(3, (2, 4, 4))
    computed = read_program(content)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(computed, run_onnx(content, x)["logits"], atol=1e-6)


@pytest.mark.parametrize("name", NOT_CENTRED)
def test_what_only_looks_like_taking_the_mean_off_keeps_the_plain_rules(name):
    content = centred(*NOT_CENTRED[name])
    kinds, bound = groups(content)
    truth = steepest_slope(content)
    assert kinds == []
    assert truth > 1.05
    assert truth <= bound * (1 + 1e-9)
