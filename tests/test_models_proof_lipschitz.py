"""Random programs: no pair of inputs stretches more than the bound, no run rounds more than E."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.errors import ModelError
from models.proof.bounds import Bounds, prove
from models.proof.growth import NOTHING
from models.proof.lipschitz import walk
from models.proof.operators.affine import Dense, Scale, Shift
from models.proof.operators.branches import Concatenation, Sum
from models.proof.operators.elementwise import Activation
from models.proof.operators.operator import Stretch
from models.proof.operators.routing import Move
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from models.proof.upward import FLOAT32
from tests.oracles import dense_file, images, onnx_file, orthogonal, orthogonal_classifier

node = helper.make_node
SIZE = 6


@st.composite
def programs(draw):
    """An ONNX file drawn from the whole table of operators: chains, branches, concatenations."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    nodes, weights, current = [], {}, "x"

    def weight(array):
        name = f"w{len(weights)}"
        weights[name] = np.asarray(array, dtype=np.float32)
        return name

    def add(kind, *operands, outputs=1, **attributes):
        names = [f"t{len(nodes)}_{at}" for at in range(outputs)]
        nodes.append(node(kind, list(operands), names, **attributes))
        return names[0] if outputs == 1 else names

    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=7)):
        noise = rng.standard_normal
        match kind:
            case "Gemm":
                current = add("Gemm", current, weight(noise((SIZE, SIZE))), weight(noise(SIZE)))
            case "MatMul":
                current = add("MatMul", current, weight(noise((SIZE, SIZE))))
            case "Add" | "Sub" | "Mul":
                current = add(kind, current, weight(noise((1, SIZE))))
            case "Div":
                current = add(kind, current, weight(0.5 + rng.random((1, SIZE))))
            case "PRelu":
                current = add(kind, current, weight(2 * noise(SIZE)))
            case "Relu" | "Abs" | "Neg" | "LeakyRelu":
                current = add(kind, current)
            case "residual":
                branch = add("Relu", add("MatMul", current, weight(noise((SIZE, SIZE)))))
                current = add(rng.choice(["Add", "Sub"]), current, branch)
            case "halves":
                first, second = add("Split", current, outputs=2, axis=1, num_outputs=2)
                current = add("Concat", second, add("Abs", first), axis=1)
            case "wide":
                both = add("Concat", current, add("Neg", current), axis=1)
                current = add("MatMul", both, weight(noise((2 * SIZE, SIZE))))
            case "transposed":
                shaped = add("Reshape", current, shape_of(weights, (-1, 2, SIZE // 2)))
                turned = add("Transpose", shaped, perm=[0, 2, 1])
                current = add("Reshape", turned, shape_of(weights, (-1, SIZE)))
    if draw(st.booleans()):
        nodes.append(node("Gemm", [current, weight(rng.standard_normal((SIZE, 3)))], ["logits"]))
    else:
        nodes.append(node("Identity", [current], ["logits"]))
    return onnx_file(nodes, shape=(SIZE,), weights=weights)


KINDS = (
    "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "PRelu", "Relu", "Abs", "Neg", "LeakyRelu",
    "residual", "halves", "wide", "transposed",
)  # fmt: skip


def shape_of(weights, shape):
    name = f"shape{len(weights)}"
    weights[name] = np.array(shape, dtype=np.int64)
    return name


def steepest(program, *, seed, steps=40):
    """Largest ‖logits(x) - logits(x′)‖ / ‖x - x′‖ that ascent finds, in float64."""
    noise = torch.Generator().manual_seed(seed)
    start = torch.rand(8, *program.input_shape, generator=noise, dtype=torch.float64)
    direction = torch.randn(start.shape, generator=noise, dtype=torch.float64)
    best = 0.0
    for _ in range(steps):
        direction = direction.detach().requires_grad_()
        unit = direction / direction.flatten(1).norm(dim=1).view(-1, 1) * 0.1
        change = program(start + unit) - program(start)
        stretch = change.flatten(1).norm(dim=1) / 0.1
        best = max(best, float(stretch.detach().max()))
        (gradient,) = torch.autograd.grad(stretch.sum(), direction)
        direction = direction + gradient / (gradient.norm() + 1e-300) * direction.norm()
    return best


@given(programs(), st.integers(0, 2**31))
def test_no_pair_of_inputs_stretches_more_than_the_bound(content, seed):
    program = read_program(content)
    found = steepest(program, seed=seed)
    assert found <= walk(program).steps[-1].lipschitz_bound * (1 + 1e-9)


@given(programs(), st.integers(0, 2**31))
def test_no_gap_moves_more_than_its_pair_of_classes_allows(content, seed):
    program = read_program(content)
    bounds = prove(program)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.random((32, SIZE)))
    step = torch.from_numpy(rng.standard_normal((32, SIZE)))
    moved = (program(x + step) - program(x)).numpy()
    lengths = step.norm(dim=1).numpy()
    gaps = np.abs(moved[:, :, None] - moved[:, None, :]) / lengths[:, None, None]
    assert (gaps.max(axis=0) <= bounds.pair_bounds * (1 + 1e-9) + 1e-12).all()


def exact_logits(program, image):
    """The program in rational arithmetic, entry by entry, written without its `run`."""
    values = {program.input_name: [Fraction(float(v)) for v in image.ravel()]}
    for op in program.operators:
        operands = [values[name] for name in op.operands]
        values[op.result] = exact_operator(op, operands)
    return values[program.operators[-1].result]


def exact_operator(op, operands):
    first = operands[0]
    rational = lambda array: [Fraction(float(v)) for v in np.ravel(array)]  # noqa: E731
    match op:
        case Dense():
            bias = rational(op.bias.array) if op.bias else [Fraction(0)] * len(op.weight.array)
            rows = [rational(row) for row in op.weight.array]
            return [
                sum((a * b for a, b in zip(row, first, strict=True)), start)
                for row, start in zip(rows, bias, strict=True)
            ]
        case Activation():
            slopes = rational(np.broadcast_to(op.slope.array, len(first))) if op.slope else None
            if op.kind == "Relu":
                return [max(v, Fraction(0)) for v in first]
            if op.kind == "Abs":
                return [abs(v) for v in first]
            if op.kind == "Neg":
                return [-v for v in first]
            return [v if v >= 0 else s * v for v, s in zip(first, slopes, strict=True)]
        case Move() if op.crop:
            return first[op.crop[1] : op.crop[2]]
        case Move() if op.order:
            return [
                first[row * (SIZE // 2) + column] for column in range(SIZE // 2) for row in (0, 1)
            ]
        case Move():
            return first
        case Scale():
            factors = rational(op.constant.array)
            pairs = zip(first, factors, strict=True)
            return [v / f if op.divide else v * f for v, f in pairs]
        case Shift():
            pairs = zip(first, rational(op.constant.array), strict=True)
            return [b - v if op.negate else v + op.sign * b for v, b in pairs]
        case Sum():
            return [
                sum(sign * v for sign, v in zip(op.signs, entries, strict=True))
                for entries in zip(*operands, strict=True)
            ]
        case Concatenation():
            return [v for operand in operands for v in operand]
    raise TypeError(op)


@given(programs(), st.integers(0, 2**31))
def test_a_float32_run_is_within_its_rounding_of_the_exact_one(content, seed):
    program = read_program(content)
    bounds = prove(program)
    x = images(1, (SIZE,), seed=seed)
    computed = [Fraction(float(v)) for v in run_onnx(content, x, optimised=False)["logits"][0]]
    exact = exact_logits(program, x[0])
    s = float(np.linalg.norm(x.astype(np.float64))) * (1 + 1e-12)
    for i in range(len(exact)):
        for j in range(i):
            error = abs((computed[i] - computed[j]) - (exact[i] - exact[j]))
            allowed = bounds.float32.constant[i, j] + bounds.float32.slope[i, j] * s
            assert error <= Fraction(float(allowed))


@given(programs(), st.integers(0, 2**31))
def test_our_float64_run_is_within_its_rounding_of_the_exact_one(content, seed):
    program = read_program(content)
    bounds = prove(program)
    x = images(1, (SIZE,), seed=seed)
    with torch.inference_mode():
        logits = program(torch.from_numpy(x.astype(np.float64)))[0].numpy()
    exact = exact_logits(program, x[0])
    s = float(np.linalg.norm(x.astype(np.float64))) * (1 + 1e-12)
    for i in range(len(exact)):
        for j in range(i):
            error = abs(
                Fraction(float(logits[i])) - Fraction(float(logits[j])) - exact[i] + exact[j]
            )
            allowed = bounds.float64.constant[i, j] + bounds.float64.slope[i, j] * s
            assert error <= Fraction(float(allowed))


def test_adding_a_tensor_to_itself_doubles_the_bound():
    content = onnx_file([node("Add", ["x", "x"], ["logits"])], shape=(3,))
    assert walk(read_program(content)).steps[-1].lipschitz_bound == pytest.approx(2, rel=1e-12)


def test_an_orthogonal_network_has_bound_one():
    bounds = prove(read_program(orthogonal_classifier(width=64)))
    assert 1 <= bounds.feature_bound <= 1 + 1e-5


def test_a_program_without_a_linear_head_gets_the_square_root_of_two():
    matrix = orthogonal(4, 4, seed=0)
    content = onnx_file(
        [node("MatMul", ["x", "W"], ["h"]), node("Neg", ["h"], ["logits"])],
        shape=(4,),
        weights={"W": matrix},
    )
    pairs = prove(read_program(content)).pair_bounds
    assert pairs[0, 1] == pytest.approx(2**0.5, rel=1e-6)
    assert pairs[0, 1] >= 2**0.5
    assert pairs[2, 2] == 0


def test_equal_rows_of_the_head_and_no_others_have_pair_bound_zero():
    head = np.array([[1, 2], [1, 2], [1, 2 + 2**-22]])
    content = dense_file([np.eye(2), head], [None, None], shape=(2,))
    pairs = prove(read_program(content)).pair_bounds
    assert pairs[0, 1] == 0
    assert pairs[0, 2] > 0


def test_bounds_come_back_from_json_to_the_bit():
    bounds = prove(read_program(orthogonal_classifier()))
    again = Bounds.from_json(bounds.to_json())
    assert again.to_json() == bounds.to_json()
    assert again.pair_bounds.tobytes() == bounds.pair_bounds.tobytes()


def test_values_that_may_overflow_have_no_float32_radius_and_say_so():
    content = dense_file([1e30 * np.eye(2), 1e30 * np.eye(2)], [None, None], shape=(2,))
    bounds = prove(read_program(content))
    assert bounds.float32 is None
    assert "overflow" in bounds.refused_float32


def test_a_divisor_that_float32_may_flush_has_no_float32_radius_and_says_so():
    content = onnx_file(
        [node("Div", ["x", "c"], ["logits"])], shape=(2,), weights={"c": np.float32([[1, 1e-40]])}
    )
    bounds = prove(read_program(content))
    assert bounds.float32 is None
    assert "subnormal divisor" in bounds.refused_float32


def test_a_bound_that_overflows_is_refused():
    content = dense_file([3e38 * np.eye(2)] * 9, [None] * 9, shape=(2,), slopes=False)
    with pytest.raises(ModelError, match="overflows at"):
        walk(read_program(content))


ALARMS = {
    "a slope of at most 1 for every PRelu": (
        Activation,
        onnx_file(
            [node("PRelu", ["x", "s"], ["h"]), node("Neg", ["h"], ["logits"])],
            shape=(SIZE,),
            weights={"s": np.full(SIZE, -3.0, dtype=np.float32)},
        ),
    ),
    "a factor of 1 for every scale": (
        Scale,
        onnx_file(
            [node("Mul", ["x", "s"], ["logits"])],
            shape=(SIZE,),
            weights={"s": np.full(SIZE, -3.0, dtype=np.float32)},
        ),
    ),
    "the largest branch in place of the sum": (
        Sum,
        onnx_file([node("Neg", ["x"], ["y"]), node("Sub", ["x", "y"], ["logits"])], shape=(SIZE,)),
    ),
    "the largest branch in place of the root of squares": (
        Concatenation,
        onnx_file([node("Concat", ["x", "x"], ["logits"], axis=1)], shape=(SIZE,)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", ALARMS)
def test_a_wrong_rule_is_caught_by_ascent(rule, monkeypatch):
    kind, content = ALARMS[rule]
    program = read_program(content)
    # A start in [0, 1] sees only slopes above zero; the steps below are symmetric around 0.
    wrong = Stretch(method="wrong")
    assert steepest(shifted(program), seed=0) <= walk(program).steps[-1].lipschitz_bound * (
        1 + 1e-9
    )
    monkeypatch.setattr(kind, "stretch", lambda self, shape: wrong)
    assert steepest(shifted(program), seed=0) > walk(program).steps[-1].lipschitz_bound * 1.3


def shifted(program):
    """The program around 0 in place of around the middle of [0, 1]."""

    class Shifted:
        input_shape = program.input_shape

        def __call__(self, x):
            return program(x - 0.5)

    return Shifted()


def test_rounding_that_is_left_out_is_caught(monkeypatch):
    content = orthogonal_classifier(width=64)
    program = read_program(content)
    x = images(20, (1, 4, 4))
    computed = run_onnx(content, x, optimised=False)["logits"].astype(np.float64)
    with torch.inference_mode():
        exact = program(torch.from_numpy(x.astype(np.float64))).numpy()
    errors = np.abs((computed - computed[:, :1]) - (exact - exact[:, :1]))[:, 1:]
    honest = walk(program).rounding(FLOAT32, cast=False).errors["logits"]
    norms = np.linalg.norm(x.reshape(20, -1), axis=1)[:, None]
    assert (errors <= 2**0.5 * (honest.a + honest.b * norms)).all()
    monkeypatch.setattr(Stretch, "lost", lambda *_, **__: NOTHING)
    without = walk(program).rounding(FLOAT32, cast=False).errors["logits"]
    assert not (errors <= 2**0.5 * (without.a + without.b * norms)).all()
