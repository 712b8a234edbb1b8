"""Exact arithmetic where float64 cannot tell: held against 200 bits, and what it decides."""

import dataclasses
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import helper

from models.attacks import exact_logits, recheck
from models.attacks.boundary import Segments, edge_breaks
from models.attacks.exact_operators import stays_rational
from models.attacks.rational import Rationals
from models.errors import SoundnessError
from models.proof.bounds import GapError, prove
from models.proof.operators.elementwise import Activation
from models.proof.operators.reduction import Reduction
from models.proof.reading.reader import read_program
from tests import exact
from tests.oracles import dense_file, images, onnx_file, orthogonal_classifier
from tests.strategies import STEPS, draws, normalised, programs, rooted, smooth

RATIONAL = [step for step in STEPS if step not in (smooth, normalised, rooted)]
FAINT = 2.0**-60
"""Far below what float64 keeps of a sum with 1."""


def faint():
    """Class 0 leads class 1 by the second pixel times 2⁻⁶⁰, which float64 loses."""
    weights = np.array([[1.0, FAINT], [1.0, 0.0], [-3.0, 0.0]])
    program = read_program(dense_file([weights], [None], shape=(2,)))
    return program, prove(program)


def judged(program, bounds, pixels, *, label):
    image = np.array([pixels], dtype="f4")
    labels = np.array([label])
    told = {"originals": image, "attacked": image, "labels": labels, "eps": 0.1}
    return recheck.recheck(program, bounds, **told)


@given(programs(steps=RATIONAL), st.integers(0, 2**32 - 1))
@draws(test=30, fuzz=3000)
def test_logits_are_those_of_200_bits(content, seed):
    program = read_program(content)
    assume(exact_logits.affordable_passes(program))
    image = images(1, program.input_shape, seed=seed)[0]
    found = exact_logits.exact_logits(program, image)
    assert all(type(logit.numerator) is int for logit in found)
    for mine, theirs in zip(found, exact.exact_logits(program, image), strict=True):
        rounded = mpmath.mpf(mine.numerator) / mine.denominator
        assert abs(rounded - theirs) <= mpmath.mpf(2) ** -120 * (1 + abs(theirs))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_an_arrays_numbers_are_the_very_ones(values):
    found = Rationals.of(np.array(values, dtype="f4"))
    assert [found.entry((at,)) for at in range(len(values))] == [Fraction(v) for v in values]


def test_a_lead_that_float64_loses_is_decided_exactly_both_ways_and_a_tie_is_no_break():
    program, bounds = faint()
    lost = judged(program, bounds, [0.5, 1.0], label=1)
    assert lost.confirmed.all()
    assert lost.predictions.tolist() == [0]
    assert lost.gaps.tolist() == [FAINT]
    kept = judged(program, bounds, [0.5, 1.0], label=0)
    tied = judged(program, bounds, [0.5, 0.0], label=0)
    for found in (kept, tied):
        assert not found.confirmed.any()
        assert not found.undecided.any()


def test_what_is_too_large_or_irrational_stays_undecided(monkeypatch):
    program, bounds = faint()
    assert exact_logits.affordable_passes(program) > 1000
    monkeypatch.setattr(exact_logits, "MOST_PRODUCTS", 1)
    found = judged(program, bounds, [0.5, 1.0], label=1)
    assert found.undecided.all()
    assert not found.confirmed.any()


def test_a_smooth_program_has_no_exact_logits():
    nodes = [helper.make_node("Sigmoid", ["x"], ["logits"])]
    assert exact_logits.affordable_passes(read_program(onnx_file(nodes, shape=(3,)))) == 0


def test_a_kind_that_is_not_known_is_never_taken_for_another():
    named = {"name": "n", "operands": ("x",), "result": "y"}
    told = {"axes": (1,), "keepdims": False, "entries": 4}
    assert stays_rational(Reduction(kind="ReduceMean", **named, **told))
    assert not stays_rational(Reduction(kind="ReduceL2", **named, **told))
    assert not stays_rational(Reduction(kind="ReduceLogSum", **named, **told))
    assert stays_rational(Activation(kind="Relu", **named))
    assert not stays_rational(Activation(kind="Round", **named))


def test_alarm_rounding_that_was_bounded_too_low_is_an_error():
    program, bounds = faint()
    none = GapError(np.zeros((3, 3)), np.zeros((3, 3)))
    wrong = dataclasses.replace(bounds, float64=none)
    with pytest.raises(SoundnessError, match=r"class 0 over that of class 1 .* bounded by .*e-1"):
        judged(program, wrong, [0.5, 1.0], label=1)


def test_alarm_a_class_that_is_lost_faintly_inside_a_radius_is_a_break():
    weights = np.array([[1.0, -FAINT], [0.0, 0.0]])
    program = read_program(dense_file([weights], [np.array([0, 0.5])], shape=(2,)))
    bounds, original = prove(program), np.array([[0.75, 1.0]], dtype="f4")
    segments = Segments(original, np.array([[0.5, 1.0]], dtype="f4"), np.array([0]))
    found = edge_breaks(program, bounds, segments, np.array([0.25 + 1e-9]))
    assert found.confirmed.all()
    assert found.distances[0] < 0.25 + 1e-9
    honest = edge_breaks(program, bounds, segments, np.array([0.25 - 1e-9]))
    assert not honest.confirmed.any()
    assert not honest.undecided.any()
    nothing = edge_breaks(program, bounds, segments, np.array([0.0]))
    assert not nothing.confirmed.any()


def test_the_nearer_of_two_breaks_is_kept_row_by_row():
    program = read_program(orthogonal_classifier(shape=(1, 4, 4)))
    inputs = images(4, (1, 4, 4))
    labels = np.zeros(4, dtype=np.int64)
    told = {"originals": inputs, "labels": labels}
    base = recheck.recheck(program, prove(program), attacked=inputs, eps=1.0, **told)
    far = dataclasses.replace(
        base, confirmed=np.array([True, True, False, False]), distances=np.full(4, 2.0)
    )
    near = dataclasses.replace(
        base,
        confirmed=np.array([True, False, True, False]),
        distances=np.full(4, 1.0),
        images=inputs + 1,
    )
    found = far.or_nearer(near)
    assert found.distances.tolist() == [1.0, 2.0, 1.0, 2.0]
    assert found.confirmed.tolist() == [True, True, True, False]
    assert ((found.images - inputs).reshape(4, -1).max(axis=1) > 0).tolist() == [
        True, False, True, False,
    ]  # fmt: skip
