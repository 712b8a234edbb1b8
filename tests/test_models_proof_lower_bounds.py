"""Lower bounds: below every upper bound, close where they can be, and loud where one is wrong."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.errors import SoundnessError
from models.proof.lipschitz import Walk, walk
from models.proof.lower_bounds import lower_bounds, operator_lower_bound, program_lower_bound
from models.proof.operators.elementwise import Activation
from models.proof.operators.operator import Operator
from models.proof.patterns import catalogue
from models.proof.patterns.group import Group
from models.proof.reading.reader import read_program
from tests.oracles import dense_file, onnx_file, orthogonal_classifier
from tests.strategies import draws, programs

node = helper.make_node
RNG = np.random.default_rng(0)


def walked(content: bytes) -> Walk:
    return walk(read_program(content))


def branches(joining: str, **attributes) -> bytes:
    """Two linear branches of the input, joined, under a head."""
    width = 12 if joining == "Concat" else 6
    return onnx_file(
        [
            node("Flatten", ["x"], ["h"]),
            node("Gemm", ["h", "A"], ["a"], transB=1),
            node("Gemm", ["h", "B"], ["b"], transB=1),
            node(joining, ["a", "b"], ["j"], **attributes),
            node("Gemm", ["j", "W"], ["logits"], transB=1),
        ],
        shape=(1, 3, 3),
        weights={
            "A": RNG.standard_normal((6, 9)).astype(np.float32),
            "B": RNG.standard_normal((6, 9)).astype(np.float32),
            "W": RNG.standard_normal((4, width)).astype(np.float32),
        },
    )


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_dense_layer_reaches_its_bound(rows, columns, seed):
    matrix = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    head = np.ones((2, rows), np.float32)
    found = walked(dense_file([matrix, head], [None, None], shape=(columns,), slopes=False))
    step = found.steps[1]
    assert step.kind == "Gemm"
    torch.manual_seed(seed)
    seen = operator_lower_bound(found, step)
    exact = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[0]
    assert seen == pytest.approx(exact, rel=1e-6)
    assert exact * (1 - 1e-9) <= seen <= step.stretch.factor


@pytest.mark.parametrize(
    "content",
    [
        orthogonal_classifier(),
        branches("Add"),
        branches("Sub"),
        branches("Concat", axis=1),
        dense_file([0 * np.eye(4), np.ones((2, 4))], [None, None], shape=(4,)),
    ],
    ids=["orthogonal", "add", "sub", "concat", "zero"],
)
def test_no_lower_bound_is_above_its_upper_one_and_linear_ones_are_close(content):
    found = walked(content)
    seen = lower_bounds(found)
    assert len(seen.operators) == len(found.steps)
    for step, lower in zip(found.steps, seen.operators, strict=True):
        assert lower <= step.stretch.factor
        assert lower == pytest.approx(step.stretch.factor, rel=1e-6), step.kind
    assert 0 <= seen.program <= found.steps[-1].lipschitz_bound


def test_a_linear_program_reaches_its_product_by_ascent_over_pairs():
    matrix = RNG.standard_normal((3, 20)).astype(np.float32)
    found = walked(dense_file([matrix], [None], shape=(20,)))
    assert program_lower_bound(found) == pytest.approx(found.steps[-1].lipschitz_bound, rel=1e-3)


def test_the_same_seed_gives_the_same_and_the_callers_generator_is_left_alone():
    found = walked(orthogonal_classifier())
    torch.manual_seed(5)
    first = lower_bounds(found, seed=1)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.rand(1) == after
    assert lower_bounds(found, seed=1) == first
    assert lower_bounds(found, seed=2) != first


def smaller(found: Walk, place: int, factor: float) -> Walk:
    """The same walk with one operator's bound made too small after it was proved."""
    steps = list(found.steps)
    stretch = dataclasses.replace(steps[place].stretch, factor=factor * steps[place].stretch.factor)
    steps[place] = dataclasses.replace(steps[place], stretch=stretch)
    return Walk(found.program, tuple(steps))


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("factor", [0.7, 1 - 1e-6])
def test_alarm_a_bound_that_is_too_small_is_caught_and_named(place, factor):
    found = walked(orthogonal_classifier())
    with pytest.raises(
        SoundnessError, match=r"is seen to stretch by .*, and its proven bound"
    ) as c:
        lower_bounds(smaller(found, place, factor))
    assert found.steps[place].name in str(c.value)


def test_alarm_a_product_that_is_too_small_is_caught():
    found = walked(orthogonal_classifier())
    last = dataclasses.replace(found.steps[-1], lipschitz_bound=0.5)
    with pytest.raises(SoundnessError, match="the program is seen to stretch by"):
        lower_bounds(Walk(found.program, (*found.steps[:-1], last)))


def test_alarm_a_pixel_scale_of_the_largest_divisor_is_caught():
    """1/max(std) in place of 1/min(std)."""
    content = onnx_file(
        [
            node("Div", ["x", "std"], ["n"], name="preprocessing"),
            node("Flatten", ["n"], ["h"]),
            node("Gemm", ["h", "W"], ["logits"], transB=1),
        ],
        shape=(3, 2, 2),
        weights={
            "std": np.array([0.2, 0.5, 0.25], np.float32).reshape(3, 1, 1),
            "W": RNG.standard_normal((3, 12)).astype(np.float32),
        },
    )
    found = walked(content)
    lower_bounds(found)
    with pytest.raises(SoundnessError, match=r"preprocessing \(Div\)"):
        lower_bounds(smaller(found, 0, 0.2 / 0.5))


def test_a_group_is_looked_at_from_its_source(monkeypatch):
    """Relu(x) - Relu(-x) as one group: the identity, of factor 1 where the plain rule gives 2."""
    content = onnx_file(
        [
            node("Relu", ["x"], ["a"]),
            node("Neg", ["x"], ["n"]),
            node("Relu", ["n"], ["b"]),
            node("Sub", ["a", "b"], ["h"], name="difference"),
            node("Gemm", ["h", "W"], ["logits"], transB=1),
        ],
        shape=(5,),
        weights={"W": np.eye(5, dtype=np.float32)},
    )

    def recognise(wiring, operator: Operator) -> Group | None:
        if operator.name != "difference":
            return None
        inside = wiring.between("x", operator.result)
        relu = next(each for each in inside if isinstance(each, Activation))
        return Group("Identity", "x", inside, lambda: relu.stretch((5,)))

    plain = walked(content)
    monkeypatch.setattr("models.proof.lipschitz.RECOGNISERS", (*catalogue.RECOGNISERS, recognise))
    grouped = walked(content)
    assert plain.steps[-1].lipschitz_bound == pytest.approx(2)
    assert [step.kind for step in grouped.steps] == ["Identity", "Gemm"]
    seen = lower_bounds(grouped)
    assert seen.operators == (pytest.approx(1), pytest.approx(1))
    with pytest.raises(SoundnessError, match=r"difference \(Identity\)"):
        lower_bounds(smaller(grouped, 0, 0.9))


@draws(test=25, fuzz=2000)
@given(content=programs())
def test_no_random_program_is_seen_to_stretch_more_than_was_proved(content):
    found = walked(content)
    seen = lower_bounds(found)
    assert all(lower is None or np.isfinite(lower) for lower in seen.operators)
