"""Layers x - B φ(A x + b): their theorem against every vertex, and what only looks like them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.proof.lipschitz import walk
from models.proof.patterns import residual
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from models.proof.upward import FLOAT32
from tests.oracles import images, onnx_file

node = helper.make_node


def floats(entries):
    return np.asarray(entries, dtype=np.float32)


def sll(width, neurons, *, seed, noise=0.0):
    """A, b, t and the factor 2 of an SLL layer in float32: B = 2 Aᵀ diag(t)."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((neurons, width))
    t = 1 / np.abs(A @ A.T).sum(axis=1)
    B = A.T * t * 2 + noise * rng.standard_normal((width, neurons))
    return floats(A), floats(rng.standard_normal(neurons)), floats(B)


def layer(A, b, B, *, between=("Relu",), last="Sub", **weights):
    """x - B φ(A x + b) as a file; φ may be any chain of nodes, a result of one being `h`."""
    nodes = [
        node("Gemm", ["x", "A", "b"], ["a"], transB=1),
        *(
            [node(between[0], ["a", *between[1:]], ["h"])]
            if isinstance(between[0], str)
            else between
        ),
        node("Gemm", ["h", "B"], ["r"], transB=1),
        node(last, ["x", "r"], ["logits"]),
    ]
    return onnx_file(nodes, shape=(A.shape[1],), weights={"A": A, "b": b, "B": B, **weights})


def bounded(content):
    """Whether the last step is a residual group, and its factor."""
    last = walk(read_program(content)).steps[-1]
    return last.kind == "x - B φ(A x + b)", last.stretch.factor, last.lipschitz_bound


def truth(A, B, *, slopes=(0.0, 1.0)):
    """Largest ‖I - B D A‖ over all diagonal D of the slopes, by singular values."""
    A, B = A.astype(np.float64), B.astype(np.float64)
    eye = np.eye(A.shape[1])
    return max(
        np.linalg.norm(eye - B @ np.diag(D) @ A, ord=2)
        for D in itertools.product(slopes, repeat=len(A))
    )


def test_sll_from_float32_weights_is_a_little_above_one():
    exceeded = 0
    for seed in range(20):
        A, b, B = sll(3, 3, seed=seed)
        recognised, factor, _ = bounded(layer(A, b, B))
        found = truth(A, B)
        assert recognised
        assert found <= factor <= 1 + 2e-6
        exceeded += found > 1 + 1e-9
    assert exceeded >= 3  # a factor of exactly 1 would be wrong


@given(
    st.integers(2, 4),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 1e-6, 1e-3]),
    st.floats(0.1, 3),
)
def test_no_slopes_stretch_more_than_the_theorem(width, neurons, seed, noise, stretch):
    A, b, B = sll(width, neurons, seed=seed, noise=noise)
    B = floats(stretch * B)
    _, factor, bound = bounded(layer(A, b, B))
    found = truth(A, B)
    assert found <= factor * (1 + 1e-12)
    assert found <= bound * (1 + 1e-12)


@given(st.integers(0, 2**32 - 1))
def test_cpl_is_as_tight_as_its_theorem(seed):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((6, 5))
    A /= np.linalg.norm(A, ord=2)
    recognised, factor, _ = bounded(layer(floats(A), floats(np.zeros(6)), floats(2 * A.T)))
    assert recognised
    assert truth(floats(A), floats(2 * A.T)) <= factor <= 1 + 1e-5


FORMS = {
    "a neuron's scale and one behind": (
        node("Add", ["a", "shift"], ["s"]),
        node("Relu", ["s"], ["f"]),
        node("Mul", ["t", "f"], ["h"]),
    ),
    "a neuron's divisor": (node("Relu", ["a"], ["f"]), node("Div", ["f", "t"], ["h"])),
    "a constant added to φ": (node("Relu", ["a"], ["f"]), node("Add", ["f", "shift"], ["h"])),
    "LeakyRelu": (node("LeakyRelu", ["a"], ["h"], alpha=0.25),),
    "Tanh": (node("Tanh", ["a"], ["h"]),),
    "Clip": (node("Clip", ["a", "zero", "one"], ["h"]),),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_forms_of_a_layer_are_recognised(name):
    A, _, B = sll(4, 6, seed=1)
    t = floats(np.random.default_rng(2).random(6) + 0.5)
    inside = {"Mul": B / t, "Div": B * t}.get(FORMS[name][-1].op_type, B)
    weights = {"t": t, "shift": floats(t[None]), "zero": floats(0), "one": floats(1)}
    nodes = [
        node("MatMul", ["x", "At"], ["a"]),
        *FORMS[name],
        node("MatMul", ["h", "Bt"], ["r"]),
        node("Mul", ["r", "half"], ["q"]),
        node("Add", ["q", "x"], ["logits"]),
    ]
    weights |= {"At": A.T.copy(), "Bt": floats(-2 * inside.T), "half": floats(0.5)}
    content = onnx_file(nodes, shape=(4,), weights=weights)
    recognised, factor, _ = bounded(content)
    assert recognised
    assert 1 <= factor <= 1 + 5e-6
    x = images(3, (4,))
    computed = read_program(content)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(computed, run_onnx(content, x)["logits"], atol=1e-5)


HALVES = (
    node("Split", ["a"], ["p", "q"], axis=1, num_outputs=2),
    node("Max", ["p", "q"], ["high"]),
    node("Min", ["p", "q"], ["low"]),
    node("Concat", ["high", "low"], ["h"], axis=1),
)
OTHERS = {
    "Abs": (("Abs",), {}),
    "MaxMin": (HALVES, {}),
    "a slope below 0": (("PRelu", "slope"), {"slope": floats([0.5, -0.5])}),
    "a slope above 1": (("PRelu", "slope"), {"slope": floats([0.5, 2])}),
    "a φ turned around": (
        (node("Sub", ["zero", "a"], ["n"]), node("Relu", ["n"], ["h"])),
        {"zero": floats([[0, 0]])},
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_function_in_place_of_relu_is_not_recognised(name):
    between, weights = OTHERS[name]
    eye = np.eye(2)
    content = layer(floats(eye), floats([0, 0]), floats(2 * eye), between=between, **weights)
    recognised, _, bound = bounded(content)
    assert not recognised
    assert bound >= 3 * (1 - 1e-9)


def test_abs_taken_for_relu_would_be_wrong_by_three(monkeypatch):
    eye = np.eye(2)
    content = layer(floats(eye), floats([0, 0]), floats(2 * eye), between=("Abs",))
    monkeypatch.setattr(residual, "_is_monotone", lambda operator: True)
    _, factor, _ = bounded(content)
    assert factor < 1.1
    assert truth(eye, 2 * eye, slopes=(-1.0, 1.0)) == pytest.approx(3)


def test_an_ordinary_residual_block_keeps_the_plain_rules():
    A, b, B = sll(4, 4, seed=0)
    recognised, _, bound = bounded(layer(A, b, B, last="Add"))
    assert not recognised
    assert truth(A, -B) <= bound


def test_a_scale_that_differs_behind_b_is_not_recognised():
    A, b, B = sll(3, 4, seed=0)
    nodes = [
        node("Gemm", ["x", "A", "b"], ["a"], transB=1),
        node("Relu", ["a"], ["h"]),
        node("Gemm", ["h", "B"], ["r"], transB=1),
        node("Mul", ["r", "c"], ["q"]),
        node("Sub", ["x", "q"], ["logits"]),
    ]
    weights = {"A": A, "b": b, "B": B, "c": floats([[1, 2, 3]])}
    recognised, _, bound = bounded(onnx_file(nodes, shape=(3,), weights=weights))
    assert not recognised
    assert truth(A, np.diag([1, 2, 3]) @ B) <= bound


@given(st.integers(0, 2**32 - 1))
def test_a_float32_run_is_within_its_rounding(seed):
    content = layer(*sll(6, 8, seed=seed))
    program = read_program(content)
    x = images(8, (6,), seed=seed)
    computed = run_onnx(content, x, optimised=False)["logits"].astype(np.float64)
    exact = program(torch.from_numpy(x.astype(np.float64))).numpy()
    errors = np.linalg.norm(computed - exact, axis=1)
    norms = np.linalg.norm(x.astype(np.float64), axis=1)
    allowed = walk(program).rounding(FLOAT32, cast=False).errors["logits"]
    assert (errors <= allowed.a + allowed.b * norms).all()
    assert (allowed.a + allowed.b * norms <= 1000 * FLOAT32.unit * (1 + norms)).all()


# Convolutional layers

GEOMETRIES = {
    "zero padding": {"pads": [1, 1, 1, 1]},
    "pads that differ": {"pads": [0, 2, 1, 0]},
    "dilation": {"pads": [2, 2, 2, 2], "dilations": [2, 2]},
    "groups": {"pads": [1, 1, 1, 1], "group": 2},
    "a stride": {"pads": [1, 1, 1, 1], "strides": [2, 2]},
}


def convolutional(kernel, backward, shape, *, geometry, back=None, t=None):
    nodes = [
        node("Conv", ["x", "K"], ["a"], **geometry),
        node("Relu", ["a"], ["f"]),
        node("Mul", ["f", "t"], ["h"]),
        node("ConvTranspose", ["h", "B"], ["r"], **(back or geometry)),
        node("Sub", ["x", "r"], ["s"]),
        node("Flatten", ["s"], ["logits"]),
    ]
    t = floats(np.ones((len(kernel), 1, 1))) if t is None else t
    weights = {"K": kernel, "B": backward, "t": t}
    return onnx_file(nodes, shape=shape, weights=weights)


def dense_pair(content):
    """A and B of a convolutional layer as matrices, column by column."""
    program = read_program(content)
    first, _, scale, second, *_ = program.operators
    with torch.no_grad():
        x = torch.eye(program.input_size, dtype=torch.float64)
        a = first.run(x.view(-1, *program.input_shape))
        h = torch.eye(a[0].numel(), dtype=torch.float64).view(-1, *a.shape[1:])
        back = second.run(scale.run(h))
    return a.flatten(1).T.numpy(), back.flatten(1).T.numpy()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_no_slopes_stretch_a_convolutional_layer_more_than_the_theorem(name):
    geometry = GEOMETRIES[name]
    side = 5 if "strides" in geometry else 4
    rng = np.random.default_rng(3)
    kernel = rng.standard_normal((4, 2 // geometry.get("group", 1), 3, 3))
    reach = np.abs(kernel).sum() ** 2
    t = floats((rng.random((4, 1, 1)) + 0.5) * 8 / reach)
    content = convolutional(
        floats(kernel), floats(3 * kernel), (2, side, side), geometry=geometry, t=t
    )
    steps = walk(read_program(content)).steps
    assert [step.kind for step in steps] == ["x - B φ(A x + b)", "Flatten"]
    A, B = dense_pair(content)
    eye = np.eye(A.shape[1])
    slopes = [np.ones(len(A)), *rng.integers(0, 2, (40, len(A))), *rng.random((10, len(A)))]
    found = max(np.linalg.norm(eye - (B * D) @ A, ord=2) for D in slopes)
    assert found <= steps[0].stretch.factor
    assert steps[0].stretch.factor <= max(1, np.linalg.norm(B @ A, ord=2) * 1.3 - 1) + 1e-4


@pytest.mark.parametrize(
    ("geometry", "back"),
    [
        ({"pads": [0, 0, 1, 1]}, {"pads": [1, 1, 0, 0]}),
        ({"pads": [1, 1, 1, 1]}, {"pads": [2, 2, 2, 2], "dilations": [2, 2]}),
    ],
)
def test_a_convolution_back_with_other_windows_is_not_recognised(geometry, back):
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 2, 3, 3))
    kernel /= np.abs(kernel).sum()
    content = convolutional(
        floats(kernel), floats(2 * kernel), (2, 4, 4), geometry=geometry, back=back
    )
    steps = walk(read_program(content)).steps
    assert steps[-1].kind == "Flatten"
    assert "x - B φ(A x + b)" not in [step.kind for step in steps]
    A, B = dense_pair(content)
    assert np.linalg.norm(np.eye(32) - B @ A, ord=2) <= steps[-1].lipschitz_bound


def test_a_scale_to_each_pixel_is_not_recognised():
    kernel = floats(np.random.default_rng(0).standard_normal((4, 2, 3, 3)) / 20)
    content = convolutional(
        kernel,
        2 * kernel,
        (2, 4, 4),
        geometry=GEOMETRIES["zero padding"],
        t=floats(np.ones((1, 1, 4))),
    )
    assert "Mul" in [step.kind for step in walk(read_program(content)).steps]
