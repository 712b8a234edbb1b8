"""Smooth functions: their slopes proved over the whole axis, and every spelling of a group read."""

import math

import mpmath
import numpy as np
import onnx
import pytest
import torch
from flint import arb, ctx
from onnx import helper, numpy_helper

from models.errors import ModelError
from models.proof.bounds import prove
from models.proof.lipschitz import float64_rounding, walk
from models.proof.operators import smooth
from models.proof.operators.smooth import Smooth, ThresholdSoftplus
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests.exact import exact_logits
from tests.oracles import form, images, steepest

node = helper.make_node
ROOT2 = np.float32(2**0.5)
INNER = np.float32((2 / math.pi) ** 0.5)


@pytest.fixture(autouse=True)
def _many_bits():
    before, ctx.prec = ctx.prec, 80
    yield
    ctx.prec = before


def sigmoid(u):
    return 1 / (1 + (-u).exp())


def slope_of_silu(u):
    s = sigmoid(u)
    return s + u * s * (1 - s)


def slope_of_mish(u):
    t = u.exp().log1p().tanh()
    return t + u * (1 - t * t) * sigmoid(u)


def slope_of_gelu(u):
    return 1 + u.erf() + 2 / arb.pi().sqrt() * u * (-u * u).exp()


def slope_of_gelu_tanh(u):
    """For every cubic factor that is accepted at once."""
    low, high = (arb(repr(end)) for end in smooth.CUBIC)
    r = low.union(high)
    t = (u + r * u**3).tanh()
    return 1 + t + u * (1 + 3 * r * u * u) * (1 - t * t)


SLOPES = {
    "silu": (slope_of_silu, smooth.STEEPEST_SILU),
    "mish": (slope_of_mish, smooth.STEEPEST_MISH),
    "gelu": (slope_of_gelu, smooth.STEEPEST_GELU),
    "gelu of tanh": (slope_of_gelu_tanh, smooth.STEEPEST_GELU_TANH),
}
FAR = 40.0
"""Beyond it each slope is within 2⁻⁴⁰ of 0 or of its limit: |u|³ exp(-|u|) is that small."""


def stays_below(slope, bound, *, narrowest=1e-9):
    """Whether |slope| ≤ bound on the whole of [-FAR, FAR], proved by balls that are halved."""
    pending = [(-FAR, FAR)]
    while pending:
        low, high = pending.pop()
        found = slope(arb((low + high) / 2, (high - low) / 2 * (1 + 2**-40)))
        if abs(found) <= arb(bound):
            continue
        if high - low < narrowest:
            return False
        middle = (low + high) / 2
        pending += [(low, middle), (middle, high)]
    return True


@pytest.mark.parametrize("name", SLOPES)
def test_no_slope_is_steeper_than_is_claimed(name):
    slope, bound = SLOPES[name]
    assert FAR**3 * math.exp(-FAR) < 2.0**-40
    assert stays_below(slope, bound)


@pytest.mark.parametrize("name", SLOPES)
def test_alarm_a_slope_that_is_claimed_a_little_too_small_is_caught(name):
    slope, bound = SLOPES[name]
    assert not stays_below(slope, bound * (1 - 2e-4))


def test_the_error_function_is_steepest_at_zero():
    assert arb(smooth.STEEPEST_ERF) >= 2 / arb.pi().sqrt()
    assert arb(smooth.STEEPEST_GELU) >= 1 + arb(1).erf() + 2 / (arb.pi().sqrt() * arb(1).exp())


def gelu(first, *, one=1.0, inner=ROOT2):
    """The spelling of the older exporter, and one with the half in front."""
    u = node("Div", ["x", "r"], ["u"])
    rest = [u, node("Erf", ["u"], ["e"]), node("Add", ["e", "one"], ["p"])]
    scale = [node("Mul", ["x", "half"], ["h"]), node("Mul", ["h", "p"], ["g"])]
    if not first:
        scale = [node("Mul", ["x", "p"], ["q"]), node("Mul", ["half", "q"], ["g"])]
    return form(*rest, *scale, shape=(4,), r=inner, one=np.float32(one), half=np.float32(0.5))


def gelu_of_tanh(weight=0.044715, scale=INNER):
    nodes = [
        node("Mul", ["x", "x"], ["s"]), node("Mul", ["x", "s"], ["c"]),
        node("Mul", ["k", "c"], ["kc"]), node("Add", ["x", "kc"], ["a"]),
        node("Mul", ["scale", "a"], ["b"]), node("Tanh", ["b"], ["t"]),
        node("Add", ["one", "t"], ["p"]), node("Mul", ["x", "p"], ["q"]),
        node("Mul", ["half", "q"], ["g"]),
    ]  # fmt: skip
    return form(*nodes, shape=(4,), k=np.float32(weight), scale=np.float32(scale),
                one=np.float32(1), half=np.float32(0.5))  # fmt: skip


def gated(*gate, **weights):
    return form(*gate, node("Mul", ["x", "s"], ["g"]), shape=(4,), **weights)


def thresholded(steepness=1.0, threshold=20.0, divisor=None, above="Greater"):
    nodes = [
        node("Mul", ["x", "b"], ["u"]), node("Softplus", ["u"], ["s"]),
        node("Div", ["s", "d"], ["y"]), node(above, ["u", "t"], ["m"]),
        node("Where", ["m", "x", "y"], ["g"]),
    ]  # fmt: skip
    b, d, t = (np.float32(v) for v in (steepness, divisor or steepness, threshold))
    return form(*nodes, shape=(4,), b=b, d=d, t=t)


def simple(kind, *, opset=22, **attributes):
    return form(node(kind, ["x"], ["g"], **attributes), shape=(4,), opset=opset)


HALF = smooth.STEEPEST_GELU / 2
FORMS = {
    "gelu": (simple("Gelu"), HALF),
    "gelu, half first": (gelu(True), HALF),
    "gelu, half last": (gelu(False), HALF),
    "gelu by tanh": (simple("Gelu", approximate="tanh"), smooth.STEEPEST_GELU_TANH / 2),
    "gelu by tanh, in pieces": (gelu_of_tanh(), smooth.STEEPEST_GELU_TANH / 2),
    "silu": (gated(node("Sigmoid", ["x"], ["s"])), smooth.STEEPEST_SILU),
    "swish with a factor": (
        gated(node("Mul", ["x", "b"], ["u"]), node("Sigmoid", ["u"], ["s"]), b=np.float32(-2.5)),
        smooth.STEEPEST_SILU,
    ),
    "mish": (simple("Mish"), smooth.STEEPEST_MISH),
    "mish, in pieces": (
        gated(node("Softplus", ["x"], ["p"]), node("Tanh", ["p"], ["s"])), smooth.STEEPEST_MISH
    ),
    "hard swish": (simple("HardSwish"), 1.5),
    "hard swish by a hard sigmoid": (
        gated(node("HardSigmoid", ["x"], ["s"], alpha=0.25, beta=0.75)), 1.25
    ),
    "hard swish by a clip": (
        form(
            node("Add", ["x", "three"], ["a"]), node("Clip", ["a", "zero", "six"], ["c"]),
            node("Mul", ["x", "c"], ["p"]), node("Div", ["p", "six"], ["g"]), shape=(4,),
            three=np.float32(3), zero=np.float32(0), six=np.float32(6),
        ),
        1.5,
    ),
    "hard sigmoid": (simple("HardSigmoid", alpha=0.5, beta=0.3), 0.5),
    "elu": (simple("Elu", alpha=2.5), 2.5),
    "elu, flat": (simple("Elu", alpha=0.5), 1),
    "selu": (simple("Selu"), 1.7580993408473766),
    "celu": (simple("Celu", alpha=0.5), 1),
    "softsign": (simple("Softsign"), 1),
    "softsign, in pieces": (
        form(node("Abs", ["x"], ["a"]), node("Add", ["a", "one"], ["p"]),
             node("Div", ["x", "p"], ["g"]), shape=(4,), one=np.float32(1)), 1,
    ),
    "log sigmoid": (form(node("Sigmoid", ["x"], ["s"]), node("Log", ["s"], ["g"]), shape=(4,)), 1),
    "erf": (simple("Erf"), smooth.STEEPEST_ERF),
    "atan": (simple("Atan"), 1),
    "sin": (simple("Sin"), 1),
    "cos": (simple("Cos"), 1),
    "softplus with a threshold": (thresholded(), 1),
    "softplus, steeper": (thresholded(2.0, 10.0), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_function_is_that_of_onnx_runtime_and_no_steeper_than_its_bound(name):
    content, factor = FORMS[name]
    program = read_program(content)
    for scale in (1, 10):
        inputs = scale * (images(20, (4,), seed=3) - np.float32(0.5)).astype(np.float32)
        expected = run_onnx(content, inputs, optimised=False)["logits"]
        found = logits_in_float64(program, inputs)
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    bound = walk(program).steps[-1].lipschitz_bound
    assert bound == pytest.approx(factor, rel=1e-6)
    seen = max(
        steepest(program, (4,), seed=0, length=0.01, middle=middle)
        for middle in (-3.5, -1.5, 0, 0.8, 1.5, 3)
    )
    assert 0.9 * bound < seen <= bound * (1 + 1e-9)


@pytest.mark.parametrize("name", FORMS)
def test_a_function_is_as_accurate_as_is_assumed(name):
    program = read_program(FORMS[name][0])
    rounding = float64_rounding(walk(program))
    rng = np.random.default_rng(0)
    for scale in (1e-300, 1e-8, 1.0, 30.0, 1e3):
        x = rng.standard_normal((1, 4)) * scale
        exact = exact_logits(program, x[0])
        found = program(torch.from_numpy(x)).numpy()[0]
        error = max(abs(mpmath.mpf(float(a)) - b) for a, b in zip(found, exact, strict=True))
        allowed = rounding.errors["logits"].at(float(np.linalg.norm(x)))
        assert error <= (allowed if name == "hard sigmoid" else allowed / 32)


REFUSED = {
    "a gate of something else": (
        form(node("Abs", ["x"], ["y"]), node("Sigmoid", ["y"], ["s"]),
             node("Mul", ["x", "s"], ["g"]), shape=(4,)), r"g \(Mul\) alone",
    ),
    "an error function moved by 2": (gelu(True, one=2.0), r"g \(Mul\) alone"),
    "a cube that weighs more": (gelu_of_tanh(0.05), r"\(Mul\) alone"),
    "a tanh that is steeper": (gelu_of_tanh(scale=1.0), r"\(Mul\) alone"),
    "a hard sigmoid of something else": (
        gated(node("Neg", ["x"], ["y"]), node("HardSigmoid", ["y"], ["s"])), r"\(Mul\) alone",
    ),
    "an exponential that grows": (simple("Celu", alpha=-0.5), "of Celu above 0"),
    "a softplus with another divisor": (thresholded(2.0, divisor=3.0), "Greater: jumps"),
    "a softplus above the wrong side": (thresholded(above="Less"), "Less: jumps"),
    "a fraction with another denominator": (
        form(node("Abs", ["x"], ["a"]), node("Add", ["a", "c"], ["p"]),
             node("Div", ["x", "p"], ["g"]), shape=(4,), c=np.float32(0.5)),
        "divisor that depends",
    ),
    "a logarithm of something else": (
        form(node("Tanh", ["x"], ["s"]), node("Log", ["s"], ["g"]), shape=(4,)), r"g \(Log\)",
    ),
    "a name of ours in a file": (gated(node("Silu", ["x"], ["s"])), "not valid ONNX"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_alarm_what_only_looks_like_a_function_is_refused(name):
    content, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        read_program(content)


def test_numbers_of_ours_in_a_file_are_refused():
    numbers = numpy_helper.from_array(np.array([0.5, 0.1]))
    with pytest.raises(ModelError, match="not valid ONNX"):
        read_program(simple("Gelu", parameters=numbers))


def test_a_gate_that_something_else_reads_stays_and_is_read_by_itself():
    nodes = [
        node("Sigmoid", ["x"], ["s"]),
        node("Mul", ["x", "s"], ["p"]),
        node("Add", ["p", "s"], ["g"]),
    ]
    program = read_program(form(*nodes, shape=(4,)))
    assert [operator.kind for operator in program.operators] == [
        "Sigmoid",
        "Silu",
        "Add",
        "Flatten",
    ]
    assert walk(program).steps[-1].lipschitz_bound == pytest.approx(smooth.STEEPEST_SILU + 0.25)


def test_every_function_of_the_table_is_tested():
    made = [
        operator for content, _ in FORMS.values() for operator in read_program(content).operators
    ]
    kinds = {operator.kind for operator in made if isinstance(operator, Smooth)}
    assert kinds | {"Tanh", "Sigmoid", "Softplus"} == set(smooth.FUNCTIONS)


def test_a_threshold_far_below_zero_leaves_a_finite_jump():
    """Below 0 the function falls by less than 1 - t there, where exp(-t) would overflow."""
    for threshold in (-1e3, -3e38):
        softplus, *_ = read_program(thresholded(threshold=threshold)).operators
        jump = softplus.stretch((1,)).jump
        assert 2 * -threshold < jump < 2.01 * (2 - threshold)
    near, *_ = read_program(thresholded(threshold=-1e-3)).operators
    assert near.stretch((1,)).jump > 2 * np.log1p(np.exp(1e-3))


def test_a_jump_at_the_threshold_is_charged_for_both_copies_of_an_example():
    """With the threshold 1 the function falls by 0.31: the charge covers what no factor can."""
    program = read_program(thresholded(threshold=1.0))
    x = torch.tensor([[1.0 - 1e-9] * 4, [1.0 + 1e-9] * 4], dtype=torch.float64)
    below, above = program(x)
    moved, distance = float((below - above).norm()), float((x[0] - x[1]).norm())
    assert moved > 1e6 * distance
    charged = float64_rounding(walk(program)).errors["logits"].at(2.0)
    assert moved <= distance + charged
    assert charged >= 2 * math.log1p(math.exp(-1.0)) * 2
    row = next(
        step for step in walk(program).steps if isinstance(step.operators[0], ThresholdSoftplus)
    )
    assert "jump" in row.stretch.method


def test_such_a_file_has_no_float32_radius_and_says_why():
    bounds = prove(read_program(FORMS["gelu, half last"][0]))
    assert bounds.float32 is None
    assert "round Gelu" in bounds.refused_float32


ROWS = np.array([[0], [2], [2]], dtype=np.int64)
PAIRS = np.array([[0, 2], [-1, 1]], dtype=np.int64)
PLACES = {
    "along one axis": ((1, 0, 2), ROWS, (1, 0, 2), lambda x: x[:, [0, 2, 2]]),
    "along two axes": ((1, 2, 0), PAIRS, (1, 0), lambda x: x[:, [0, -1], [2, 1]]),
    "along the last": ((2, 0, 1), ROWS, (1, 2, 0), lambda x: x[:, :, [0, 2, 2]]),
    "in two rows": (
        (1, 0, 2), ROWS[[[0, 1], [2, 0]]], (2, 3, 0, 1),
        lambda x: x[:, [[0, 2], [2, 0]]].transpose(0, 3, 1, 2),
    ),
}  # fmt: skip


def indexed(before, places, after):
    nodes = [
        node("Transpose", ["x"], ["t"], perm=before), node("GatherND", ["t", "at"], ["p"]),
        node("Transpose", ["p"], ["g"], perm=after),
    ]  # fmt: skip
    return form(*nodes, shape=(3, 4), at=places)


@pytest.mark.parametrize("name", PLACES)
def test_entries_picked_by_places_are_those_of_onnx_runtime(name):
    before, places, after, picked = PLACES[name]
    content = indexed(before, places, after)
    x = images(5, (3, 4))
    expected = run_onnx(content, x, optimised=False)["logits"]
    np.testing.assert_array_equal(logits_in_float64(read_program(content), x), expected)
    if name != "in two rows":
        np.testing.assert_array_equal(expected, picked(x).reshape(5, -1))


@pytest.mark.parametrize(
    ("before", "places", "after"),
    [
        ((0, 1, 2), ROWS, (1, 0, 2)),  # examples of the batch
        ((1, 0, 2), ROWS, (0, 1, 2)),  # the batch is left inside
        ((1, 0, 2), ROWS + 9, (1, 0, 2)),
        ((1, 0, 2), np.array([[0, 0]], dtype=np.int64), (0, 1)),
    ],
)
def test_alarm_places_that_mix_the_batch_or_lie_outside_are_refused(before, places, after):
    with pytest.raises(ModelError):
        read_program(indexed(before, places, after))


def test_a_long_chain_of_factors_is_read_in_no_time():
    nodes = [node("Mul", ["x", "c"], ["m0"])]
    nodes += [node("Mul", [f"m{at}", "c"], [f"m{at + 1}"]) for at in range(100)]
    content = form(*nodes, node("Mul", ["m100", "c"], ["g"]), shape=(4,), c=np.float32(1))
    assert len(read_program(content).operators) == 103
    cycle = onnx.load_from_string(content)
    cycle.graph.node[0].input[0] = "m1"
    with pytest.raises(ModelError):
        read_program(cycle.SerializeToString())
