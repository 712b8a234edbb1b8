"""Targeted attacks with many rivals in a batch, and which rivals are out of reach."""

import dataclasses
import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pyautoattack import fab_base, fab_projections
from pyautoattack.autopgd_base import APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT

from models.attacks.aimed import Aiming, aimed_apgd, aimed_fab
from models.attacks.crossing import Crossing
from models.attacks.fab import fab_search
from models.attacks.gradient_searches import ddn
from models.attacks.reach import reachable_rivals, rivals_left_out
from models.proof.bounds import prove
from models.proof.certificate import certify_examples
from models.proof.reading.reader import read_program
from tests.oracles import images, orthogonal_classifier

SHAPE, CLASSES = (1, 5, 5), 6


@pytest.fixture(scope="module")
def case():
    program = read_program(orthogonal_classifier(shape=SHAPE, classes=CLASSES, seed=2))
    inputs = images(10, SHAPE, seed=2)
    bounds = prove(program)
    return program, bounds, inputs, certify_examples(program, bounds, inputs)


@pytest.fixture(autouse=True)
def _stable_sort(monkeypatch):
    """Equal bends come in the order of the pixels in the authors' function too."""
    names = {name: getattr(torch, name) for name in ("max", "cumsum", "cat", "zeros", "full_like",
                                                     "floor", "where")}  # fmt: skip
    stable = SimpleNamespace(sort=functools.partial(torch.sort, stable=True), **names)
    monkeypatch.setattr(fab_projections, "torch", stable)
    assert fab_base.projection_l2 is fab_projections.projection_l2


def apgd(program, *, eps):
    told = {"norm": "L2", "n_iter": 60, "eps": eps, "seed": 5, "device": "cpu"}
    return APGDAttack_targeted(program, n_target_classes=CLASSES - 1, **told)


def fab(program, *, eps):
    told = {"norm": "L2", "n_iter": 15, "eps": eps, "seed": 5, "device": "cpu", "targeted": True}
    return FABAttack_PT(program, n_target_classes=CLASSES - 1, **told)


def not_own(labels, *, rows):
    own = torch.nn.functional.one_hot(labels, CLASSES).bool()
    return Aiming(lambda images: ~own[: len(images)], rows)


@pytest.mark.parametrize("rank", [2, 4])
def test_fabs_images_towards_a_rank_are_the_authors(case, rank):
    program, _, inputs, found = case
    labels = torch.from_numpy(found.predictions.copy())
    labels[3] = (labels[3] + 1) % CLASSES
    start, attack = torch.from_numpy(inputs), fab(program, eps=0.3)
    attack.target_class = rank
    with torch.no_grad():
        expected = attack.attack_single_run(start, labels, is_targeted=True)
        rivals = program(start).sort(dim=-1).indices[:, -rank]
        ours = fab_search(attack, start, labels, rivals)
    assert torch.equal(ours, expected)
    assert (ours != start).flatten(1).any(dim=1).sum() == len(inputs) - 1


@pytest.mark.parametrize(("make", "aimed"), [(apgd, aimed_apgd), (fab, aimed_fab)])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_of_one_image_a_rival_a_batch_gives_the_authors_image(case, make, aimed, row):
    program, _, inputs, found = case
    eps = 1.3 * float(found.radii[row])
    start = torch.from_numpy(inputs[[row]])
    label = torch.from_numpy(found.predictions[[row]])
    with torch.random.fork_rng(), torch.no_grad():
        expected = make(program, eps=eps).perturb(start.clone(), label)
        ours = aimed(make(program, eps=eps), not_own(label, rows=1), start, label)
    assert torch.equal(ours, expected)
    assert (ours != start).any()


@pytest.mark.parametrize(("make", "aimed"), [(apgd, aimed_apgd), (fab, aimed_fab)])
def test_many_rivals_in_a_batch_break_what_one_after_the_other_breaks(case, make, aimed):
    program, _, inputs, found = case
    eps = 1.4 * float(np.median(found.radii))
    start, labels = torch.from_numpy(inputs), torch.from_numpy(found.predictions)
    broken = []
    with torch.random.fork_rng(), torch.no_grad():
        told = make(program, eps=eps).perturb(start.clone(), labels)
        broken.append(program(told).argmax(1) != labels)
        for rows in (3, 1000):
            ours = aimed(make(program, eps=eps), not_own(labels, rows=rows), start, labels)
            broken.append(program(ours).argmax(1) != labels)
            assert torch.equal((ours != start).flatten(1).any(1), broken[-1])
            assert float((ours - start).flatten(1).norm(dim=1).max()) <= eps + 1e-6
    assert torch.equal(broken[0], broken[1])
    assert torch.equal(broken[0], broken[2])
    assert 0 < broken[0].sum() < len(inputs)


@pytest.mark.parametrize("aimed", [aimed_apgd, aimed_fab])
def test_a_rival_that_is_not_aimed_at_costs_no_pass(case, aimed):
    program, _, inputs, found = case
    seen = []

    def counted(images):
        seen.append(len(images))
        return program(images)

    start, labels = torch.from_numpy(inputs[:4]), torch.from_numpy(found.predictions[:4])
    two = torch.zeros(4, CLASSES, dtype=torch.bool)
    two[[0, 2], (labels[[0, 2]] + 1) % CLASSES] = True
    make = apgd if aimed is aimed_apgd else fab
    with torch.random.fork_rng(), torch.no_grad():
        ours = aimed(make(counted, eps=1e-3), Aiming(lambda _: two, 100), start, labels)
    assert seen[0] == 4
    assert set(seen[1:]) == {2}
    assert torch.equal(ours, start)


def test_what_is_out_of_reach_is_decided_rival_by_rival_and_nothing_of_it_where_all_is(case):
    program, bounds, inputs, found = case
    eps = float(np.median(found.radii))
    rivals = reachable_rivals(program, bounds, inputs, eps=eps)
    certified = found.radii > eps
    assert (rivals[certified].sum(axis=1) == CLASSES - 1).all()
    assert not rivals[np.arange(10), found.predictions].any()
    assert rivals[np.arange(10), found.rivals].all()
    fewer = rivals[~certified].sum(axis=1)
    assert (fewer >= 1).all()
    assert (fewer < CLASSES - 1).any()
    assert (rivals_left_out(program, bounds, inputs, eps=eps) == CLASSES - 1 - rivals.sum(1)).all()


def crossed(program, inputs, predictions, *, eps):
    """Which rivals a search that knows no bound reaches within ε."""
    start, own = torch.from_numpy(inputs), torch.from_numpy(predictions)
    reached = np.zeros((len(inputs), CLASSES), dtype=bool)
    for shift in range(1, CLASSES):
        rival = (own + shift) % CLASSES
        far = ddn(Crossing(program, start, own, rival), steps=40).distances.numpy()
        reached[np.arange(len(inputs)), rival.numpy()] = far <= eps
    return reached


def test_no_rival_that_can_be_reached_is_left_out_and_alarm_where_the_bounds_are_too_small(case):
    program, bounds, inputs, found = case
    eps = 1.5 * float(found.radii.max())  # nothing is certified
    reached = crossed(program, inputs, found.predictions, eps=eps)
    assert reached.any()
    assert not (reached & ~reachable_rivals(program, bounds, inputs, eps=eps)).any()
    small = dataclasses.replace(bounds, pair_bounds=0.5 * bounds.pair_bounds)
    assert (reached & ~reachable_rivals(program, small, inputs, eps=eps)).any()


def test_of_twenty_classes_the_nine_likeliest_are_aimed_at():
    program = read_program(orthogonal_classifier(shape=SHAPE, classes=20))
    inputs = images(3, SHAPE)
    rivals = reachable_rivals(program, prove(program), inputs, eps=10.0)
    logits = program(torch.from_numpy(inputs)).numpy()
    assert (rivals.sum(axis=1) == 9).all()
    for row, chosen in zip(logits, rivals, strict=True):
        assert set(np.flatnonzero(chosen)) == set(row.argsort()[-10:-1].tolist())
