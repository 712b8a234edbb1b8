"""Pairs of inputs that stretch a gap: up to its bound where that is exact, beyond it if false."""

import dataclasses

import numpy as np
import pytest
import torch

from models.attacks.stretch_starts import affordable_steps, pair_starts
from models.proof.bounds import prove
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.stretch import quotients, steepest
from tests.oracles import dense_file, images, orthogonal_classifier

SHAPE = (1, 4, 4)
PROGRAM = read_program(orthogonal_classifier(shape=SHAPE, width=64))
BOUNDS = prove(PROGRAM)
INPUTS = images(12, SHAPE)
PREDICTIONS = logits_in_float64(PROGRAM, INPUTS).argmax(axis=1)


def starts(classes=5, *, shape=SHAPE, seed=0):
    inputs = images(12, shape)
    labels = np.arange(12) % classes
    return pair_starts(inputs, labels, inputs, labels, classes=classes, seed=seed)


def linear(head):
    program = read_program(dense_file([head], [None], shape=SHAPE))
    return program, prove(program)


def test_a_linear_gap_is_stretched_to_its_bound_and_never_beyond():
    program, bounds = linear(np.random.default_rng(0).standard_normal((5, 16)))
    found = steepest(program, bounds, starts(), steps=4)
    upper = np.triu_indices(5, k=1)
    share = found.seen[upper] / bounds.pair_bounds[upper]
    assert (share <= 1).all()
    assert (share > 1 - 1e-6).all()
    assert found.share == pytest.approx(share.max())


def test_a_proven_bound_is_nearly_reached_and_the_steepest_pair_shows_its_share():
    found = steepest(PROGRAM, BOUNDS, starts(), steps=20)
    assert 0.5 < found.share <= 1
    first, second = (end[None] for end in found.inputs)
    logits = [PROGRAM(torch.from_numpy(end)).numpy() for end in (first, second)]
    shown = quotients(BOUNDS, first, second, *logits)[0]
    one, other = found.classes
    assert shown[one, other] / BOUNDS.pair_bounds[one, other] == pytest.approx(found.share)
    assert (found.seen == found.seen.T).all()


def test_alarm_a_bound_times_0_7_is_exceeded():
    program, bounds = linear(np.random.default_rng(0).standard_normal((5, 16)))
    small = dataclasses.replace(bounds, pair_bounds=0.7 * bounds.pair_bounds)
    assert steepest(program, small, starts(), steps=3).share > 1.4


def test_alarm_margin_over_the_square_root_of_two_on_unit_rows_is_exceeded():
    """Rows of norm 1 that are nearly opposite: the gap moves by nearly 2, not by √2."""
    head = np.zeros((3, 16))
    head[0, 0], head[1, 0], head[1, 1], head[2, 2] = 1, -1, 0.05, 1
    program, bounds = linear(head / np.linalg.norm(head, axis=1, keepdims=True))
    wrong = dataclasses.replace(bounds, pair_bounds=np.sqrt(2) * (1 - np.eye(3)))
    assert steepest(program, bounds, starts(3), steps=4).share <= 1
    found = steepest(program, wrong, starts(3), steps=4)
    assert found.share > 1.41
    assert found.classes == (0, 1)


def test_alarm_a_gap_that_was_said_not_to_move_at_all():
    still = dataclasses.replace(BOUNDS, pair_bounds=np.zeros((5, 5)))
    assert steepest(PROGRAM, still, starts(), steps=1).share == np.inf


def test_rounding_and_nearness_are_charged():
    first = np.full((1, *SHAPE), 0.5)
    near, nothing = first + 1e-5, np.zeros((1, 5))
    assert (quotients(BOUNDS, first, near, nothing, np.eye(5)[:1]) == 0).all()
    far = first + 0.1
    tiny = 1e-16 * np.eye(5)[:1]  # less than rounding can be
    assert (quotients(BOUNDS, first, far, nothing, tiny) == 0).all()
    assert quotients(BOUNDS, first, far, nothing, np.eye(5)[:1])[0, 0, 1] == pytest.approx(2.5)
    assert (quotients(BOUNDS, first, far, nothing, np.full((1, 5), np.nan)) == 0).all()


def test_every_pair_of_classes_begins_where_images_cross():
    finds, found = INPUTS.copy(), PREDICTIONS.copy()
    finds[0] += np.float32(0.01)
    found[0] = (PREDICTIONS[0] + 1) % 5
    begun = pair_starts(INPUTS, PREDICTIONS, finds, found, classes=5, seed=0)
    pair = sorted((int(PREDICTIONS[0]), int(found[0])))
    mine = (begun.one == pair[0]) & (begun.other == pair[1])
    assert (begun.first[mine][0] == INPUTS[0].astype(float)).all()
    assert (begun.second[mine][0] == finds[0].astype(float)).all()
    assert set(zip(begun.one.tolist(), begun.other.tolist(), strict=True)) == {
        (i, j) for i in range(5) for j in range(i + 1, 5)
    }


def test_many_classes_begin_once_and_take_few_steps():
    begun = starts(20)
    assert len(begun.one) == 190
    assert affordable_steps(PROGRAM, 45) == 30
    assert affordable_steps(PROGRAM, 4950) == 2


def test_of_very_many_classes_those_begin_between_which_something_was_found(monkeypatch):
    finds, found = INPUTS.copy(), PREDICTIONS.copy()
    finds[0] += np.float32(0.01)
    found[0] = 998
    begun = pair_starts(INPUTS, PREDICTIONS, finds, found, classes=1000, seed=0)
    pairs = list(zip(begun.one.tolist(), begun.other.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs) == 4950
    assert {(int(PREDICTIONS[0]), 998), (0, 1), (998, 999)} <= set(pairs)
    monkeypatch.setattr("models.attacks.stretch_starts.MOST_ENTRIES", 5 * INPUTS[0].size)
    few = pair_starts(INPUTS, PREDICTIONS, finds, found, classes=1000, seed=0)
    assert len(few.one) == 5
    assert 998 in few.other


def test_the_same_seed_gives_the_same_bytes_and_another_one_others():
    first, again, other = (
        steepest(PROGRAM, BOUNDS, starts(seed=seed), steps=3).seen.tobytes() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
