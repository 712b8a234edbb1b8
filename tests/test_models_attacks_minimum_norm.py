"""The smallest change: what geometry says where it can, never below a proven radius, repeatable."""

import dataclasses

import numpy as np
import pytest
import torch
from onnx import helper

from models.attacks.boundary import Segments, nearest_breaks
from models.attacks.effort import Effort
from models.attacks.minimum_norm import smallest_changes
from models.proof.bounds import prove
from models.proof.certificate import certify_examples, distance_bound
from models.proof.reading.reader import read_program
from tests.oracles import dense_file, images, onnx_file, orthogonal_classifier

SHAPE = (1, 4, 4)
PROGRAM = read_program(orthogonal_classifier(shape=SHAPE, width=64))
BOUNDS = prove(PROGRAM)
INPUTS = images(12, SHAPE)
LITTLE = Effort(pushes=(1.0,), steps=20)


def searched(program, inputs, *, seed=0, effort=LITTLE, bounds=None, finds=None):
    bounds = bounds or prove(program)
    found = certify_examples(program, bounds, inputs)
    closest = smallest_changes(
        program, inputs, found.predictions, seed=seed, effort=effort, finds=finds
    )
    segments = Segments(inputs, closest.images, found.predictions)
    return found, closest, nearest_breaks(program, bounds, segments)


def nearest_on_a_plane(x, normal, level):
    """Distance from x to normal·p ≥ level inside [0, 1], by bisection of its multiplier."""
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        short = normal @ np.clip(x + middle * normal, 0, 1) < level
        low, high = (middle, high) if short else (low, middle)
    return np.linalg.norm(np.clip(x + high * normal, 0, 1) - x)


def test_a_linear_boundary_is_met_where_geometry_says_inside_the_box():
    rng = np.random.default_rng(1)
    head, bias = rng.standard_normal((3, 6)).astype("f4"), 0.3 * rng.standard_normal(3)
    bias = bias.astype("f4")
    program = read_program(dense_file([head], [bias], shape=(6,)))
    inputs = (0.02 + 0.3 * images(10, (6,))).astype("f4")  # near a corner: the box counts
    found, _, breaks = searched(program, inputs, effort=Effort())
    head, bias = head.astype(float), bias.astype(float)
    for row, x in enumerate(inputs.astype(float)):
        own = found.predictions[row]
        expected = min(
            nearest_on_a_plane(x, head[j] - head[own], bias[own] - bias[j])
            for j in range(3)
            if j != own and ((head[j] - head[own]).clip(min=0).sum() >= bias[own] - bias[j])
        )
        assert breaks.confirmed[row]
        assert expected - 1e-7 <= breaks.distances[row] <= expected * 1.0005


def test_no_change_is_shorter_than_a_proven_radius_nor_twice_as_long():
    found, closest, breaks = searched(PROGRAM, INPUTS, effort=Effort(), bounds=BOUNDS)
    assert breaks.confirmed.all()
    assert (breaks.distances >= found.radii).all()
    assert np.median(found.radii / breaks.distances) > 0.4
    assert all(closest.found_by)
    assert (breaks.predictions != found.predictions).all()
    for original, image, distance in zip(INPUTS, breaks.images, breaks.distances, strict=True):
        assert distance == distance_bound(original, image)


def test_a_tenth_of_the_way_less_is_not_across_where_the_boundary_is_met_once():
    found, _, breaks = searched(PROGRAM, INPUTS, bounds=BOUNDS)
    segments = Segments(INPUTS, breaks.images, found.predictions)
    assert segments.across(PROGRAM, BOUNDS, np.ones(len(INPUTS))).all()
    assert not segments.across(PROGRAM, BOUNDS, np.full(len(INPUTS), 1 - 1e-5)).any()


def test_in_two_pixels_no_point_of_a_fine_grid_is_much_nearer():
    rng = np.random.default_rng(2)
    weights = [2 * rng.standard_normal((12, 2)), rng.standard_normal((4, 12))]
    program = read_program(dense_file(weights, [rng.standard_normal(12), None], shape=(2,)))
    inputs = images(8, (2,))
    found, _, breaks = searched(program, inputs, effort=Effort())
    axis = np.linspace(0, 1, 401)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    classes = program(torch.from_numpy(grid)).argmax(1).numpy()
    for row, x in enumerate(inputs):
        other = classes != found.predictions[row]
        if other.any():
            nearest = np.linalg.norm(grid[other] - x, axis=1).min()
            assert breaks.confirmed[row]
            assert breaks.distances[row] <= nearest * 1.001 + 1e-6


def test_alarm_a_bound_times_0_7_is_refuted_by_smallest_changes():
    head = np.random.default_rng(0).standard_normal((5, 16))
    program = read_program(dense_file([head], [None], shape=SHAPE))  # its radii are exact
    bounds, inputs = prove(program), (0.4 + 0.2 * INPUTS).astype(np.float32)
    small = dataclasses.replace(bounds, pair_bounds=0.7 * bounds.pair_bounds)
    radii = certify_examples(program, small, inputs).radii
    found, _, breaks = searched(program, inputs, bounds=bounds)
    assert (found.radii <= breaks.distances).all()
    assert (breaks.distances < radii).mean() > 0.9


def test_without_gradients_the_images_of_other_classes_still_lead_to_a_boundary():
    steep = np.array([[1e4, 0], [-1e4, 0]])
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["a"], name="a", transB=1),
        helper.make_node("Clip", ["a", "low", "high"], ["logits"], name="clip"),
    ]
    weights = {"W": steep, "b": np.array([-5e3, 5e3]), "low": np.array(-1.0), "high": np.array(1.0)}
    weights = {name: value.astype("f4") for name, value in weights.items()}
    program = read_program(onnx_file(nodes, shape=(2,), weights=weights))
    inputs = np.array([[0.2, 0.5], [0.9, 0.5], [0.3, 0.1]], dtype="f4")
    _, closest, breaks = searched(program, inputs)
    assert set(closest.found_by) <= {"image", "image, fmn"}
    assert breaks.confirmed.all()
    np.testing.assert_allclose(breaks.distances[:2], [0.3, 0.4], atol=2e-3)


def test_where_no_other_class_is_reached_nothing_is_found():
    program = read_program(dense_file([np.zeros((2, 3))], [np.array([0.0, 1.0])], shape=(3,)))
    _, closest, breaks = searched(program, images(3, (3,)))
    assert closest.found_by == ("",) * 3
    assert not breaks.confirmed.any()
    assert (closest.images == images(3, (3,))).all()


def test_what_others_found_is_where_a_search_begins():
    found = certify_examples(PROGRAM, BOUNDS, INPUTS)
    _, _, good = searched(PROGRAM, INPUTS, effort=Effort(), bounds=BOUNDS)
    tiny = Effort(first=1, kept=1, steps=1, pushes=())
    _, alone, _ = searched(PROGRAM, INPUTS, effort=tiny, bounds=BOUNDS)
    _, told, breaks = searched(
        PROGRAM, INPUTS, effort=tiny, bounds=BOUNDS, finds={"attack": good.images}
    )
    assert not any(name.startswith("attack") for name in alone.found_by)
    assert "attack" in told.found_by
    assert (breaks.distances <= good.distances * 1.001).all()
    assert (breaks.distances >= found.radii).all()


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_any_number_of_classes(classes):
    program = read_program(orthogonal_classifier(shape=SHAPE, classes=classes))
    found, _, breaks = searched(program, INPUTS[:4])
    assert breaks.confirmed.all()
    assert (breaks.distances >= found.radii).all()


def test_the_same_seed_gives_the_same_images_and_leaves_the_generators_alone():
    before = torch.get_rng_state()
    first, again, other = (
        searched(PROGRAM, INPUTS[:4], seed=seed, bounds=BOUNDS)[2].images for seed in (3, 3, 4)
    )
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert (torch.get_rng_state() == before).all()
