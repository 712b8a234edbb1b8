"""AutoAttack behind one function, and the recheck of what it claims."""

import functools
import logging
import sys

import numpy as np
import pytest
import torch
from pyautoattack import AutoAttack, fab_base, fab_projections

from models.attacks.autoattack import attack_examples, shard_seed
from models.attacks.recheck import pulled_inside, recheck
from models.attacks.suite import attack_names, target_classes
from models.proof.bounds import prove
from models.proof.certificate import certify_examples, distance_bound
from models.proof.reading.reader import read_program
from tests.oracles import dense_file, images, orthogonal_classifier

SHAPE = (1, 5, 5)


def classifier(classes, *, seed=0, width=16, shape=SHAPE):
    program = read_program(
        orthogonal_classifier(shape=shape, classes=classes, seed=seed, width=width)
    )
    inputs = images(12, shape, seed=seed)
    bounds = prove(program)
    found = certify_examples(program, bounds, inputs)
    return program, bounds, inputs, found


def attack_all(program, inputs, labels, *, eps, seed):
    """Every attack of the suite in order, each on what the earlier ones left."""
    images, left = inputs.copy(), np.arange(len(inputs))
    for name in attack_names(program.classes, program.input_shape):
        if len(left):
            told = {"attack": name, "eps": eps, "seed": seed}
            images[left] = attack_examples(program, inputs[left], labels[left], **told)
            left = left[(images[left] == inputs[left]).reshape(len(left), -1).all(axis=1)]
    return images


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_one_attack_after_the_other_gives_what_the_authors_suite_gives_in_one_go(
    classes, monkeypatch
):
    class Stable:
        """torch, but equal values are sorted in the order of their places."""

        def __getattr__(self, name):
            found = getattr(torch, name)
            return functools.partial(found, stable=True) if name == "sort" else found

    program, _, inputs, found = classifier(classes, shape=(1, 4, 4))  # too small for Square
    few = slice(0, 6)
    labels = found.predictions[few].copy()
    labels[2] = (labels[2] + 1) % classes
    eps = float(np.median(found.radii[few])) * 1.3
    images = attack_all(program, inputs[few], labels, eps=eps, seed=4)
    monkeypatch.setattr(fab_projections, "torch", Stable())
    names = attack_names(program.classes, program.input_shape)
    tracer = sys.gettrace()
    with torch.random.fork_rng():
        suite = AutoAttack(
            program, norm="L2", eps=eps, seed=4, version="custom", attacks=list(names)
        )
        suite.apgd.n_restarts = suite.fab.n_restarts = 1
        suite.apgd_targeted.n_target_classes = target_classes(classes)
        suite.fab.n_target_classes = target_classes(classes)
        expected, _ = suite.run_standard_evaluation(
            torch.tensor(inputs[few]), torch.tensor(labels), batch_size=6
        )
    sys.settrace(tracer)
    assert images.tobytes() == expected.numpy().tobytes()
    assert (images != inputs[few]).any()


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 100])
def test_any_number_of_classes_is_attacked_within_eps(classes):
    program, bounds, inputs, found = classifier(classes)
    few = slice(0, 4)
    eps = float(np.median(found.radii[few])) * 2
    attacked = attack_all(program, inputs[few], found.predictions[few], eps=eps, seed=0)
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
    names = {classes: attack_names(classes, SHAPE) for classes in (2, 3, 4, 5, 10, 100)}
    assert names[2] == ("apgd-ce", "fab", "square")
    assert names[3] == ("apgd-ce", "apgd-dlr", "fab", "square")
    assert names[4] == names[5] == names[10] == names[100] == (
        "apgd-ce", "apgd-t", "fab-t", "square",
    )  # fmt: skip
    assert attack_names(4, (3, 4, 4)) == ("apgd-ce", "apgd-t", "fab-t")
    assert [target_classes(classes) for classes in (4, 10, 100)] == [3, 9, 9]


def test_an_undefended_network_is_broken_everywhere():
    rng = np.random.default_rng(0)
    weights = [8 * rng.standard_normal((32, 25)), 8 * rng.standard_normal((4, 32))]
    program = read_program(dense_file(weights, [None, None], shape=SHAPE))
    inputs = images(6, SHAPE)
    labels = certify_examples(program, prove(program), inputs).predictions
    attacked = attack_all(program, inputs, labels, eps=1.0, seed=0)
    breaks = recheck(
        program, prove(program), originals=inputs, attacked=attacked, labels=labels, eps=1.0
    )
    assert breaks.confirmed.all()


@pytest.mark.parametrize("attack", ["apgd-ce", "fab-t"])
def test_the_same_seed_gives_the_same_images_and_leaves_the_world_as_it_was(attack):
    program, inputs = read_program(orthogonal_classifier(shape=SHAPE)), images(2, SHAPE)
    labels = certify_examples(program, prove(program), inputs).predictions
    torch.manual_seed(5)
    before = torch.get_rng_state()
    level = logging.getLogger("auto-attack").level
    tracer = sys.gettrace()
    told = {"attack": attack, "eps": 0.5, "seed": 3}
    projection = fab_base.projection_l2
    once = attack_examples(program, inputs, labels, **told)
    assert (once != inputs).any()
    assert torch.equal(torch.get_rng_state(), before)
    assert logging.getLogger("auto-attack").level == level
    assert sys.gettrace() is tracer
    assert fab_base.projection_l2 is projection
    assert not logging.getLogger("auto-attack").handlers
    torch.manual_seed(6)
    again = attack_examples(program, inputs, labels, **told)
    assert once.tobytes() == again.tobytes()


def test_an_example_that_is_wrong_already_stays_as_it_is():
    program, _, inputs, found = classifier(5)
    attacked = attack_examples(
        program, inputs[:2], (found.predictions[:2] + 1) % 5, attack="fab-t", eps=1.0, seed=0
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
