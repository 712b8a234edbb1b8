"""AutoAttack behind one function, and the recheck of what it claims."""

import logging
import sys

import numpy as np
import pytest
import torch

from models.attacks.autoattack import attack_examples, attack_names, shard_seed
from models.attacks.recheck import pulled_inside, recheck
from models.proof.bounds import prove
from models.proof.certificate import certify_examples, distance_bound
from models.proof.reading.reader import read_program
from tests.oracles import dense_file, images, orthogonal_classifier

SHAPE = (1, 5, 5)


def classifier(classes, *, seed=0, width=16):
    program = read_program(
        orthogonal_classifier(shape=SHAPE, classes=classes, seed=seed, width=width)
    )
    inputs = images(12, SHAPE, seed=seed)
    bounds = prove(program)
    found = certify_examples(program, bounds, inputs)
    return program, bounds, inputs, found


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 100])
def test_any_number_of_classes_is_attacked_within_eps(classes):
    program, bounds, inputs, found = classifier(classes)
    few = slice(0, 4)
    eps = float(np.median(found.radii[few])) * 2
    attacked = attack_examples(program, inputs[few], found.predictions[few], eps=eps, seed=0)
    assert attacked.dtype == np.float32
    for original, image in zip(inputs[few], attacked, strict=True):
        assert distance_bound(original, image) <= eps + 1e-6
    breaks = recheck(
        program,
        bounds,
        originals=inputs[few],
        attacked=attacked,
        labels=found.predictions[few],
        eps=eps,
    )
    assert (breaks.distances[breaks.confirmed] >= found.radii[few][breaks.confirmed]).all()


def test_the_attacks_that_run_follow_classes_and_size():
    names = {classes: attack_names(classifier(classes)[0]) for classes in (2, 3, 4, 10)}
    assert names[2] == ("apgd-ce", "fab", "square")
    assert names[3] == ("apgd-ce", "apgd-dlr", "fab", "square")
    assert names[4] == names[10] == ("apgd-ce", "apgd-t", "fab-t", "square")
    small = read_program(orthogonal_classifier(shape=(3, 4, 4), classes=4))
    assert attack_names(small) == ("apgd-ce", "apgd-t", "fab-t")
    few = images(3, (3, 4, 4))
    labels = certify_examples(small, prove(small), few).predictions
    assert attack_examples(small, few, labels, eps=0.1, seed=0).shape == few.shape


def test_an_undefended_network_is_broken_everywhere():
    rng = np.random.default_rng(0)
    weights = [8 * rng.standard_normal((32, 25)), 8 * rng.standard_normal((4, 32))]
    program = read_program(dense_file(weights, [None, None], shape=SHAPE))
    inputs = images(6, SHAPE)
    labels = certify_examples(program, prove(program), inputs).predictions
    attacked = attack_examples(program, inputs, labels, eps=1.0, seed=0)
    breaks = recheck(
        program, prove(program), originals=inputs, attacked=attacked, labels=labels, eps=1.0
    )
    assert breaks.confirmed.all()


def test_the_same_seed_gives_the_same_images_and_leaves_the_world_as_it_was():
    program, inputs = read_program(orthogonal_classifier(shape=(1, 4, 4))), images(2, (1, 4, 4))
    labels = certify_examples(program, prove(program), inputs).predictions
    torch.manual_seed(5)
    before = torch.get_rng_state()
    level = logging.getLogger("auto-attack").level
    tracer = sys.gettrace()
    once = attack_examples(program, inputs, labels, eps=0.5, seed=3)
    assert (once != inputs).any()
    assert torch.equal(torch.get_rng_state(), before)
    assert logging.getLogger("auto-attack").level == level
    assert sys.gettrace() is tracer
    torch.manual_seed(6)
    again = attack_examples(program, inputs, labels, eps=0.5, seed=3)
    assert once.tobytes() == again.tobytes()


def test_an_example_that_is_wrong_already_stays_as_it_is():
    program, _, inputs, found = classifier(5)
    attacked = attack_examples(
        program, inputs[:2], (found.predictions[:2] + 1) % 5, eps=1.0, seed=0
    )
    assert (attacked == inputs[:2]).all()


def test_a_shards_seed_depends_on_all_that_names_it():
    seeds = {shard_seed(s, eps=e, shard=n) for s in (0, 1) for e in (0.1, 0.2) for n in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)


def halves():
    """A classifier by the first pixel against one half; its boundary is at pixel = 0.5."""
    program = read_program(
        dense_file([np.array([[1.0, 0], [0, 0]])], [np.array([0, 0.5])], shape=(2,))
    )
    return program, prove(program)


def judge(original, attacked, *, eps, label=0):
    program, bounds = halves()
    return recheck(
        program,
        bounds,
        originals=np.array([original], dtype=np.float32),
        attacked=np.array([attacked], dtype=np.float32),
        labels=np.array([label]),
        eps=eps,
    )


def test_a_true_break_is_confirmed_with_its_distance_rounded_up():
    breaks = judge([0.75, 0.5], [0.25, 0.5], eps=0.6)
    assert breaks.confirmed.all()
    assert breaks.predictions.tolist() == [1]
    assert 0.5 <= breaks.distances[0] <= 0.5 + 1e-12


def test_a_break_that_only_overshoots_the_budget_is_pulled_back_and_no_break():
    assert not judge([0.75, 0.5], [0.49999, 0.5], eps=0.25).confirmed.any()


def test_a_break_a_little_outside_the_budget_is_pulled_back_and_still_a_break():
    breaks = judge([0.75, 0.5], [0.2, 0.5], eps=0.5)
    assert breaks.confirmed.all()
    assert breaks.distances[0] <= 0.5


def test_a_tie_is_no_break():
    assert not judge([0.75, 0.5], [0.5, 0.5], eps=0.5).confirmed.any()


def test_an_image_outside_the_domain_is_brought_back_before_it_counts():
    breaks = judge([0.75, 0.5], [-3, 0.5], eps=1.0)
    assert (breaks.images >= 0).all()
    assert breaks.confirmed.all()


def test_pulled_images_are_inside_the_ball_for_certain():
    originals, attacked = images(50, SHAPE), images(50, SHAPE, seed=1)
    for eps in (1e-3, 0.3, 1.0):
        for original, image in zip(
            originals, pulled_inside(originals, attacked, eps=np.full(50, eps)), strict=True
        ):
            assert distance_bound(original, image) <= eps
