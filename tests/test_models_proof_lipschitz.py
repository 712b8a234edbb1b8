"""Random programs: no pair of inputs stretches more than the bound, no run rounds more than E."""

import dataclasses

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from models.errors import ModelError
from models.proof.bounds import Bounds, prove
from models.proof.growth import NOTHING
from models.proof.lipschitz import walk
from models.proof.operators.affine import Dense, Scale, Shift
from models.proof.operators.branches import Concatenation, Extreme, Sum
from models.proof.operators.convolution import Convolution, TransposedConvolution
from models.proof.operators.elementwise import Activation, Clip
from models.proof.operators.normalisation import BatchNormalization
from models.proof.operators.operator import Stretch
from models.proof.operators.pooling import AveragePool, LpPool, MaxPool
from models.proof.operators.powers import Root
from models.proof.operators.reduction import Reduction
from models.proof.operators.routing import Move
from models.proof.operators.selection import Selection
from models.proof.operators.smooth import Smooth
from models.proof.operators.sorting import TopK
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from models.proof.upward import FLOAT32
from tests.exact import exact_logits
from tests.oracles import (
    check_form,
    dense_file,
    images,
    onnx_file,
    orthogonal,
    orthogonal_classifier,
    steepest,
)
from tests.strategies import FUZZING, STEPS, UNROUNDED, draws, gated, programs, reshaped, smooth

pytestmark = pytest.mark.timeout(3600 if FUZZING else 600)
node = helper.make_node
SIZE = 6
SEEDS = st.integers(0, 2**31)
# Softmax reaches 1/2 between two entries alone: its alarm is with the elementwise ones.
KINDS_OF_OPERATORS = (
    Dense, Scale, Shift, Activation, Clip, Smooth, Sum, Extreme, Concatenation, Move,
    Selection, MaxPool, AveragePool, LpPool, Reduction, TopK, BatchNormalization,
    Convolution, TransposedConvolution,
)  # fmt: skip


@given(programs(), SEEDS, st.sampled_from([1e-3, 0.1, 1.0]))
@draws(test=300, fuzz=5000)
def test_no_pair_of_inputs_stretches_more_than_the_bound(content, seed, length):
    program = read_program(content)
    found = steepest(program, program.input_shape, seed=seed, steps=15, length=length)
    assert found <= walk(program).steps[-1].lipschitz_bound * (1 + 1e-9) + 1e-11 / length


@given(programs(), SEEDS)
@draws(test=60, fuzz=1000)
def test_a_drawn_program_computes_what_onnx_runtime_computes(content, seed):
    check_form(content, seed=seed)


@given(programs(), SEEDS)
@draws(test=60, fuzz=1000)
def test_no_gap_moves_more_than_its_pair_of_classes_allows(content, seed):
    program = read_program(content)
    bounds = prove(program)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.random((32, *program.input_shape)))
    step = torch.from_numpy(rng.standard_normal(x.shape))
    moved = (program(x + step) - program(x)).numpy()
    lengths = step.flatten(1).norm(dim=1).numpy()
    gaps = np.abs(moved[:, :, None] - moved[:, None, :]) / lengths[:, None, None]
    assert (gaps.max(axis=0) <= bounds.pair_bounds * (1 + 1e-9) + 1e-12).all()


def check_rounding(program, computed, exact, error, x):
    """Every gap as computed is within its error of the exact one."""
    s = float(np.linalg.norm(x.astype(np.float64))) * (1 + 1e-12)
    for i in range(len(exact)):
        for j in range(i):
            found = mpmath.mpf(float(computed[i])) - mpmath.mpf(float(computed[j]))
            allowed = error.constant[i, j] + error.slope[i, j] * s
            assert abs(found - (exact[i] - exact[j])) <= mpmath.mpf(float(allowed)), program


@given(programs(steps=[step for step in STEPS if step is not smooth]), SEEDS)
@draws(test=100, fuzz=2000)
def test_a_float32_run_is_within_its_rounding_of_the_exact_one(content, seed):
    program = read_program(content)
    bounds = prove(program)
    unrounded = [
        operator.kind
        for operator in program.operators
        if operator.kind in UNROUNDED or (isinstance(operator, Root) and operator.kind == "Pow")
    ]
    assert (bounds.float32 is None) == bool(unrounded)
    if unrounded:
        return
    x = images(1, program.input_shape, seed=seed)
    computed = run_onnx(content, x, optimised=False)["logits"][0]
    check_rounding(program, computed, exact_logits(program, x[0]), bounds.float32, x)


@given(programs(), SEEDS)
@draws(test=60, fuzz=2000)
def test_our_float64_run_is_within_its_rounding_of_the_exact_one(content, seed):
    program = read_program(content)
    bounds = prove(program)
    unrounded = {operator.kind for operator in program.operators} & set(UNROUNDED)
    assert len(bounds.assumptions) == len(unrounded)
    x = images(1, program.input_shape, seed=seed)
    computed = logits_in_float64(program, x)[0]
    check_rounding(program, computed, exact_logits(program, x[0]), bounds.float64, x)


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
    wrong = Stretch(method="wrong")
    found = steepest(program, program.input_shape, seed=0)
    assert found <= walk(program).steps[-1].lipschitz_bound * (1 + 1e-9)
    monkeypatch.setattr(kind, "stretch", lambda self, shape: wrong)
    assert found > walk(program).steps[-1].lipschitz_bound * 1.3


SAMPLE = 250


@pytest.fixture(scope="module")
def drawn():
    """Programs, and the furthest that ascent finds each to stretch."""
    found = []

    @settings(max_examples=SAMPLE, derandomize=True, database=None, deadline=None)
    @given(programs(steps=tuple(step for step in STEPS if step not in (gated, reshaped))))
    def draw(content):
        program = read_program(content)
        ascents = ((seed, length) for seed, length in enumerate((1e-3, 0.1, 1.0)))
        found.append(
            (
                program,
                max(
                    steepest(program, program.input_shape, seed=seed, length=length, steps=8)
                    for seed, length in ascents
                ),
            )
        )

    draw()
    return found


@pytest.mark.parametrize("kind", KINDS_OF_OPERATORS, ids=lambda kind: kind.__name__)
def test_half_of_any_rule_is_caught_by_random_programs(kind, drawn, monkeypatch):
    honest = kind.stretch
    monkeypatch.setattr(kind, "stretch", lambda self, shape: halved(honest(self, shape)))
    assert any(found > walk(program).steps[-1].lipschitz_bound * 1.001 for program, found in drawn)


def halved(stretch):
    return dataclasses.replace(stretch, factor=0.5 * stretch.factor)


def test_a_mix_with_one_weight_to_a_channel_is_not_called_one_lipschitz():
    """a x + (1 - a) g(x) reaches the root of two, with a = (1, 0) and g a swap of two entries."""
    content = onnx_file(
        [
            node("Gather", ["x", "swap"], ["swapped"], axis=1),
            node("Mul", ["x", "a"], ["first"]),
            node("Mul", ["swapped", "rest"], ["second"]),
            node("Add", ["first", "second"], ["logits"]),
        ],
        shape=(2,),
        weights={
            "swap": np.array([1, 0]),
            "a": np.array([[1, 0]], "f4"),
            "rest": np.array([[0, 1]], "f4"),
        },
    )
    program = read_program(content)
    found = steepest(program, program.input_shape, seed=0)
    assert 1.41 < found <= walk(program).steps[-1].lipschitz_bound


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
