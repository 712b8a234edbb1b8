"""Pooling and reductions: windows as ONNX Runtime lays them, factors counted from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.errors import ModelError
from models.proof.bounds import prove
from models.proof.lipschitz import walk
from models.proof.operators import pooling
from models.proof.operators.lines import line_of
from models.proof.operators.operator import Stretch
from models.proof.operators.pooling import AveragePool, MaxPool
from models.proof.reading.reader import read_program
from tests.oracles import check_form, dense_norm, form, steepest
from tests.strategies import draws

node = helper.make_node
IMAGE = (2, 6, 7)
KINDS = ("MaxPool", "AveragePool", "LpPool")


def pool(kind, kernel, *, shape=IMAGE, opset=22, **attributes):
    return form(
        node(kind, ["x"], ["g"], kernel_shape=kernel, **attributes), shape=shape, opset=opset
    )


def reduce(kind, axes, *, shape=IMAGE, opset=20, **attributes):
    """Axes as the opset has them: ReduceSum has had an operand for longer."""
    if opset >= 18 or kind == "ReduceSum":
        weights = {"a": np.array(axes, dtype=np.int64)}
        return form(
            node(kind, ["x", "a"], ["g"], **attributes), shape=shape, opset=opset, **weights
        )
    return form(node(kind, ["x"], ["g"], axes=axes, **attributes), shape=shape, opset=opset)


FACTORS = {
    "max, windows apart": (pool("MaxPool", [2, 2], strides=[2, 2]), 1),
    "max, windows that overlap": (pool("MaxPool", [3, 3], strides=[2, 2]), 2),
    "max, all windows": (pool("MaxPool", [2, 2]), 2),
    "max, dilated": (pool("MaxPool", [2], shape=(1, 5), dilations=[2]), 2**0.5),
    "max, 1-d, padded": (pool("MaxPool", [3], shape=(2, 5), pads=[1, 1]), 3**0.5),
    "max, everything": (form(node("GlobalMaxPool", ["x"], ["g"]), shape=IMAGE), 1),
    "norm, windows apart": (pool("LpPool", [2, 2], strides=[2, 2]), 1),
    "norm, windows that overlap": (pool("LpPool", [3], shape=(1, 7), strides=[1]), 3**0.5),
    "average, windows apart": (pool("AveragePool", [2, 2], strides=[2, 2]), 0.5),
    "average, everything": (form(node("GlobalAveragePool", ["x"], ["g"]), shape=IMAGE), 42**-0.5),
    "average, borders": (
        pool("AveragePool", [3], shape=(1, 2), pads=[2, 2], strides=[1]), 2**0.5,
    ),
    "average, borders counted": (
        pool("AveragePool", [3], shape=(1, 2), pads=[2, 2], count_include_pad=1), 1,
    ),
    "average, a last window cut": (
        pool("AveragePool", [4], shape=(1, 5), strides=[4], ceil_mode=1), 1,
    ),
    "least": (reduce("ReduceMin", [2]), 1),
    "largest": (reduce("ReduceMax", [1, 3]), 1),
    "mean": (reduce("ReduceMean", [2, 3]), 42**-0.5),
    "sum": (reduce("ReduceSum", [-1]), 7**0.5),
    "norm": (reduce("ReduceL2", [2, 3]), 1),
    "sorted": (form(node("TopK", ["x", "k"], ["g", "i"]), shape=IMAGE, k=np.array([7])), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", FACTORS)
def test_the_factor_is_counted_and_nothing_stretches_more(name):
    content, factor = FACTORS[name]
    program = read_program(content)
    bound = walk(program).steps[0].stretch.factor
    assert bound == pytest.approx(factor, rel=1e-12)
    assert bound >= factor * (1 - 1e-15)
    assert steepest(program, program.input_shape, seed=0) <= bound * (1 + 1e-9)
    check_form(content)


@given(st.data())
@draws(test=120, fuzz=2000)
def test_windows_lie_where_onnx_runtime_lays_them(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    kind, rank = str(rng.choice(KINDS)), int(rng.integers(1, 3))
    opset = int(rng.integers(13, 24))
    whole = lambda low, high, count=rank: [int(v) for v in rng.integers(low, high, count)]  # noqa: E731
    attributes = {"strides": whole(1, 4)}
    dilated = {"MaxPool": 13, "LpPool": 18, "AveragePool": 19}[kind]
    if opset >= dilated and rng.random() < 0.4:
        attributes["dilations"] = whole(1, 3)
    if kind != "LpPool" and rng.random() < 0.4:
        attributes["ceil_mode"] = 1
    if kind == "AveragePool" and rng.random() < 0.4:
        attributes["count_include_pad"] = 1
    match rng.choice(["told", "made", "none"]):
        case "told":
            attributes["pads"] = whole(0, 3, 2 * rank)
        case "made":
            attributes["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    content = pool(kind, whole(1, 5), shape=(2, *whole(2, 9)), opset=opset, **attributes)
    try:
        program = read_program(content)
    except ModelError:
        return
    check_form(content)
    if kind == "AveragePool":
        assert dense_norm(program) <= walk(program).steps[0].stretch.factor * (1 + 1e-12)


@pytest.mark.parametrize("opset", range(13, 24))
@pytest.mark.parametrize("kind", ["ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum", "ReduceL2"])
def test_reductions_of_every_opset_are_read_alike(kind, opset):
    check_form(reduce(kind, [1, -1], opset=opset, keepdims=0))
    check_form(reduce(kind, [2], opset=opset))
    check_form(reduce(kind, [2], opset=opset, shape=(3, 4, 2, 2)))


@pytest.mark.parametrize("opset", range(13, 24))
def test_sorting_of_every_opset_is_read_alike(opset):
    for attributes in ({}, {"largest": 0}, {"axis": 1}, {"axis": -2}):
        sort = node("TopK", ["x", "k"], ["g", "i"], **attributes)
        check_form(form(sort, shape=IMAGE, opset=opset, k=np.array([2])))


def test_a_pool_of_every_opset_is_read_alike():
    for opset in range(13, 24):
        for kind in KINDS:
            check_form(pool(kind, [3, 2], strides=[2, 1], pads=[1, 0, 1, 1], opset=opset))


REFUSED = {
    "the places of a maximum": (
        form(node("MaxPool", ["x"], ["m", "i"], kernel_shape=[2, 2]), node("Neg", ["i"], ["g"]),
             shape=IMAGE),
        "of places or a mask",
    ),
    "the places of a sort": (
        form(node("TopK", ["x", "k"], ["v", "i"]), node("Abs", ["i"], ["g"]), shape=IMAGE,
             k=np.array([2])),
        "of places or a mask",
    ),
    "no order": (
        form(node("TopK", ["x", "k"], ["g", "i"], sorted=0), shape=IMAGE, k=np.array([2])),
        "sorted = 1",
    ),
    "more than there are": (
        form(node("TopK", ["x", "k"], ["g", "i"]), shape=IMAGE, k=np.array([8])), "some or all",
    ),
    "sorted batch": (
        form(node("TopK", ["x", "k"], ["g", "i"], axis=0), shape=IMAGE, k=np.array([1])),
        "which is the batch",
    ),
    "a window of padding alone": (
        pool("MaxPool", [2], shape=(1, 1), dilations=[2], pads=[1, 1]), "padding alone",
    ),
    "padding as long as the kernel": (
        pool("MaxPool", [1], shape=(1, 3), pads=[1, 0]), "below the kernel",
    ),
    "a divisor that runtimes disagree on": (
        pool("AveragePool", [2, 2], ceil_mode=1, count_include_pad=1), "divide in two ways",
    ),
    "padding that runtimes disagree on": (
        pool("MaxPool", [2, 2], dilations=[2, 2], auto_pad="SAME_UPPER"), "runtimes agree",
    ),
    "a norm of a window that is cut": (pool("LpPool", [2, 2], ceil_mode=1), "read in two ways"),
    "another norm": (pool("LpPool", [2, 2], p=1), "p = 2"),
    "a window larger than the image": (pool("MaxPool", [9, 2]), "windows on the image"),
    "reduced batch": (reduce("ReduceMax", [0]), "which is the batch"),
    "reduced batch from behind": (reduce("ReduceMax", [-4]), "which is the batch"),
    "all axes": (form(node("ReduceMean", ["x"], ["g"]), shape=IMAGE), "behind the batch"),
    "no axes": (reduce("ReduceSum", [], noop_with_empty_axes=1), "behind the batch"),
    "an axis twice": (reduce("ReduceSum", [1, -3]), "each axis once"),
    "no axes behind the channels": (form(node("GlobalMaxPool", ["x"], ["g"]), shape=(4,)), "axes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_fixed_is_refused(name):
    content, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        read_program(content)


def test_roots_have_no_float32_radius_and_a_named_assumption():
    for content in (pool("LpPool", [2, 2]), reduce("ReduceL2", [1])):
        bounds = prove(read_program(content))
        assert "float32 runtimes differ" in bounds.refused_float32
        (assumption,) = bounds.assumptions
        assert "2⁻⁴⁰" in assumption


def test_a_sum_too_long_for_float32_has_no_float32_radius_and_says_so():
    content = form(
        node("ReduceMean", ["x", "a"], ["g"]), shape=(2, 2**23), a=np.array([2], dtype=np.int64)
    )
    bounds = prove(read_program(content))
    assert bounds.float32 is None
    assert "so many terms" in bounds.refused_float32
    assert bounds.lipschitz_bound == pytest.approx(2**-11.5, rel=1e-12)


BORDERS = pool("AveragePool", [8, 8], shape=(1, 2, 2), pads=[7, 7, 7, 7])


def test_average_pooling_as_a_formula_of_its_kernel_is_wrong_at_borders(monkeypatch):
    program = read_program(BORDERS)
    truth = dense_norm(program)
    assert truth <= walk(program).steps[0].stretch.factor
    for claim in (1 / 8, 1.0):  # 1/√(k²), and the same kernel as a convolution on the torus
        wrong = Stretch(method="wrong", factor=claim)
        monkeypatch.setattr(AveragePool, "stretch", lambda *_, wrong=wrong: wrong)
        assert truth > 1.3 * walk(program).steps[0].stretch.factor


def test_max_pooling_with_bound_one_is_wrong_where_windows_overlap(monkeypatch):
    program = read_program(FACTORS["max, windows that overlap"][0])
    found = spike(program)
    assert found <= walk(program).steps[0].stretch.factor * (1 + 1e-12)
    monkeypatch.setattr(MaxPool, "stretch", lambda *_: Stretch(method="wrong"))
    assert found > 1.9 * walk(program).steps[0].stretch.factor


def spike(program):
    """How far the program moves when one entry of a black image, the best one, is raised."""
    size = int(np.prod(program.input_shape))
    raised = torch.eye(size, dtype=torch.float64).reshape(size, *program.input_shape)
    return float((program(raised) - program(0 * raised)).norm(dim=1).max())


@given(st.data())
@draws(test=60, fuzz=2000)
def test_windows_read_by_slices_are_those_that_are_listed_to_the_bit(data):
    kernel, stride, dilation, side = (data.draw(st.integers(1, top)) for top in (4, 5, 3, 7))
    pads = [data.draw(st.integers(0, kernel - 1)) for _ in range(2)]
    kind = data.draw(st.sampled_from(KINDS))
    told = {"strides": [stride], "dilations": [dilation], "pads": pads}
    try:
        operator = read_program(pool(kind, [kernel], shape=(2, side), **told)).operators[0]
    except ModelError:
        return
    x = torch.from_numpy(np.random.default_rng(side).standard_normal((3, 2, side)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pooling, "line_of", lambda *_: None)
        listed = replace(operator).run(x)
    assert operator.line(x, 2) is not None
    assert torch.equal(operator.run(x), listed)


def test_windows_that_lie_on_no_line_are_gathered():
    windows = ((0, 1), (1, 3), (2, 3))
    assert line_of(windows, 4) is None
    odd = MaxPool(name="odd", kind="MaxPool", operands=("x",), result="y", windows=(None, windows))
    x = torch.tensor([[[1.0, 5.0, 2.0, 3.0]]])
    assert odd.run(x).tolist() == [[[5.0, 5.0, 3.0]]]
    assert line_of(((0, 1), (2, 3)), 4) is not None
    assert line_of(((0, 1), (2, -1)), 4) is None
