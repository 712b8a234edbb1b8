"""What the search for smallest changes costs: counted from the program, in passes and rows."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from onnx import helper

from models.attacks import effort, minimum_norm
from models.attacks.effort import EFFORTS, Effort, affordable_effort, products, rows_at_once
from models.attacks.minimum_norm import smallest_changes
from models.proof.program import Program
from models.proof.reading.reader import read_program
from tests.oracles import images, onnx_file, orthogonal_classifier

SHAPE = (1, 4, 4)
PROGRAM = read_program(orthogonal_classifier(shape=SHAPE, width=32, classes=5))


@pytest.fixture
def batches(monkeypatch):
    """Rows of every batch that goes through a program."""
    seen, run = [], Program.__call__

    def counted(program, inputs):
        seen.append(len(inputs))
        return run(program, inputs)

    monkeypatch.setattr(Program, "__call__", counted)
    return seen


def found(**told):
    inputs = images(6, SHAPE)
    labels = PROGRAM(torch.from_numpy(inputs)).argmax(1).numpy()
    return smallest_changes(PROGRAM, inputs, labels, seed=0, **told)


@pytest.mark.parametrize("spent", [EFFORTS[0], EFFORTS[-1]])
def test_the_passes_that_are_told_are_those_of_an_image_at_most(batches, spent):
    told = found(effort=spent).passes
    taken = sum(batches) - 6  # one pass found the labels
    assert told == spent.passes(finds=1)
    assert 0.3 * told * 6 < taken <= told * 6


def test_efforts_fall():
    falling = [each.passes(finds=2) for each in EFFORTS]
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling)) == len(falling)
    assert falling[0] > 10 * falling[-1]


def test_a_dearer_program_is_searched_for_less_long_and_never_not_at_all(monkeypatch):
    assert affordable_effort(PROGRAM, finds=2) == Effort()
    price = products(PROGRAM)
    for spent in EFFORTS:
        monkeypatch.setattr(effort, "PRODUCTS", spent.passes(finds=2) * price)
        assert affordable_effort(PROGRAM, finds=2) == spent
    monkeypatch.setattr(effort, "PRODUCTS", 1)
    assert affordable_effort(PROGRAM, finds=2) == EFFORTS[-1]
    assert found().passes == EFFORTS[-1].passes(finds=1)


def test_products_are_those_of_the_layers():
    linear = 16 * 32 + 32 * 32 + 32 * 5
    moved = 16 + 16 + 2 * (32 + 32) + 5
    assert products(PROGRAM) == linear + moved


def test_a_convolution_costs_each_of_its_windows():
    nodes = [
        helper.make_node("Conv", ["x", "K"], ["c"], name="conv", strides=[2, 2], group=2),
        helper.make_node("Flatten", ["c"], ["logits"], name="flatten"),
    ]
    kernel = np.ones((6, 2, 3, 3), dtype="f4")
    program = read_program(onnx_file(nodes, shape=(4, 7, 7), weights={"K": kernel}))
    assert products(program) == 4 * 7 * 7 + 6 * 3 * 3 * (2 * 3 * 3 + 1) + 6 * 3 * 3


def test_a_batch_is_as_large_as_memory_allows_and_one_image_is_always_let_through(
    batches, monkeypatch
):
    whole = found()
    assert max(batches) > 16
    entries = PROGRAM.input_size + sum(math.prod(shape) for shape in PROGRAM.shapes)
    del batches[:]
    monkeypatch.setattr(effort, "ENTRIES", 32 * entries)
    parts = found()
    assert max(batches) <= 32
    assert [bool(name) for name in parts.found_by] == [bool(name) for name in whole.found_by]
    lengths = [
        np.linalg.norm((each.images - images(6, SHAPE)).reshape(6, -1), axis=1)
        for each in (whole, parts)
    ]
    np.testing.assert_allclose(lengths[0], lengths[1], rtol=0.02)
    monkeypatch.setattr(effort, "ENTRIES", 1)
    assert found(effort=EFFORTS[-1]).images.shape == whole.images.shape


def test_a_large_program_has_fewer_rows_in_a_batch_and_never_fewer_than_are_asked():
    many = rows_at_once(PROGRAM, least=1)
    large = dataclasses.replace(PROGRAM, shapes=((2**24,), *PROGRAM.shapes[1:]))
    assert rows_at_once(large, least=1) == 7
    assert rows_at_once(large, least=50) == 50
    assert many > 10_000
    assert minimum_norm.rows_at_once is rows_at_once
