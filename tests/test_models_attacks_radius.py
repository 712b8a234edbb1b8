"""The attack inside each radius: silent where the bound is right, loud where it is not."""

import dataclasses

import numpy as np
import pytest
import torch

from models.attacks.radius_attack import attack_radii
from models.attacks.recheck import recheck
from models.proof.bounds import prove
from models.proof.certificate import certify_examples, distance_bound
from models.proof.reading.reader import read_program
from tests.oracles import dense_file, images, orthogonal_classifier

SHAPE = (1, 4, 4)
PROGRAM = read_program(orthogonal_classifier(shape=SHAPE, width=64))
BOUNDS = prove(PROGRAM)
INPUTS = images(60, SHAPE)


def attacked(program, bounds, inputs, **changed):
    found = certify_examples(program, dataclasses.replace(bounds, **changed), inputs)
    inside = np.nextafter(found.radii, 0)
    finds = attack_radii(program, inputs, found.predictions, inside, seed=0)
    breaks = recheck(
        program,
        bounds,
        originals=inputs,
        attacked=finds.images,
        labels=found.predictions,
        eps=inside,
    )
    return found, finds, breaks


def test_nothing_is_found_inside_a_proven_radius():
    found, finds, breaks = attacked(PROGRAM, BOUNDS, INPUTS)
    assert (found.radii > 0).mean() > 0.9
    assert not breaks.confirmed.any()
    assert (finds.gaps < 1e-5).all()


def test_alarm_a_bound_times_0_7_is_refuted_within_its_own_radii():
    head = np.random.default_rng(0).standard_normal((5, 16))
    program = read_program(dense_file([head], [None], shape=SHAPE))  # its radii are exact
    bounds, inputs = prove(program), (0.4 + 0.2 * INPUTS).astype(np.float32)
    assert not attacked(program, bounds, inputs)[2].confirmed.any()
    changed = {"pair_bounds": 0.7 * bounds.pair_bounds}
    found, _, breaks = attacked(program, bounds, inputs, **changed)
    assert breaks.confirmed.mean() > 0.9
    assert (breaks.distances[breaks.confirmed] < found.radii[breaks.confirmed]).all()


def test_alarm_margin_over_the_square_root_of_two_on_unit_rows_is_refuted():
    head = np.array([[1.0, 0], [-1, 0.02]]) / np.array([[1], [np.hypot(1, 0.02)]])
    program = read_program(dense_file([head], [None], shape=(2,)))
    bounds = prove(program)
    inputs = (0.2 + 0.6 * images(20, (2,))).astype(np.float32)
    wrong = np.full((2, 2), 2**0.5) * (1 - np.eye(2))
    assert not attacked(program, bounds, inputs)[2].confirmed.any()
    assert attacked(program, bounds, inputs, pair_bounds=wrong)[2].confirmed.any()


def test_images_stay_within_their_own_radius_and_the_domain():
    radii = np.linspace(0, 1.5, 60)
    predictions = certify_examples(PROGRAM, BOUNDS, INPUTS).predictions
    finds = attack_radii(PROGRAM, INPUTS, predictions, radii, seed=1)
    assert ((finds.images >= 0) & (finds.images <= 1)).all()
    for image, original, radius in zip(finds.images, INPUTS, radii, strict=True):
        assert distance_bound(original, image) <= radius + 1e-6
    assert (finds.images[0] == INPUTS[0]).all()


def test_a_linear_boundary_is_reached_where_geometry_says():
    head, bias = np.array([[3.0, 4], [0, 0]]), np.array([-2.0, 0])
    program = read_program(dense_file([head], [bias], shape=(2,)))
    x = np.array([[0.6, 0.3]], dtype=np.float32)  # at distance 0.2 from the boundary
    for radius, crosses in ((0.199, False), (0.201, True)):
        finds = attack_radii(program, x, np.array([0]), np.array([radius]), seed=0)
        assert (finds.gaps[0] > 0) == crosses


def test_the_same_seed_gives_the_same_images_and_leaves_the_generators_alone():
    predictions = certify_examples(PROGRAM, BOUNDS, INPUTS).predictions
    before = torch.get_rng_state()
    first, again, other = (
        attack_radii(PROGRAM, INPUTS, predictions, np.full(60, 0.5), seed=seed).images
        for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert (first != other).any()
    assert (torch.get_rng_state() == before).all()


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_any_number_of_classes(classes):
    program = read_program(orthogonal_classifier(shape=SHAPE, classes=classes))
    _, _, breaks = attacked(program, prove(program), INPUTS[:5])
    assert not breaks.confirmed.any()
