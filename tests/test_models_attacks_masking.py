"""Each sign of masking: a case in which it rings, and one in which it is silent."""

import numpy as np
import pytest
import torch

from models.attacks import masking
from models.proof.reading.reader import read_program
from tests.oracles import images, orthogonal_classifier

SHAPE = (1, 4, 4)
PROGRAM = read_program(orthogonal_classifier(shape=SHAPE))
INPUTS = images(5, SHAPE)
YES, NO = np.array([True, True]), np.array([False, False])


class Rounded:
    """A model whose gradients are destroyed by rounding its pixels."""

    def __call__(self, images):
        return PROGRAM((images * 8).round() / 8)


class Noisy:
    """A model that answers otherwise each time."""

    def __call__(self, images):
        return PROGRAM(images) + 1e-3 * torch.randn(len(images), 5)


def logits(program):
    return program(torch.from_numpy(INPUTS)).numpy()


def softmax(values):
    return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)


CASES = {
    "zero_gradients": (
        lambda: masking.zero_gradients(Rounded(), INPUTS, logits(Rounded()).argmax(1)),
        lambda: masking.zero_gradients(PROGRAM, INPUTS, logits(PROGRAM).argmax(1)),
    ),
    "logits_like_probabilities": (
        lambda: masking.logits_like_probabilities(softmax(logits(PROGRAM))),
        lambda: masking.logits_like_probabilities(logits(PROGRAM)),
    ),
    "passes_differ": (
        lambda: masking.passes_differ(logits(Noisy()), logits(Noisy())),
        lambda: masking.passes_differ(logits(PROGRAM), logits(PROGRAM)),
    ),
    "gradients_lead_nowhere": (
        lambda: masking.gradients_lead_nowhere(["image, fmn", "attack", "ddn", ""]),
        lambda: masking.gradients_lead_nowhere(["random, fmn", "ddn", "image", ""]),
    ),
    "success_does_not_grow": (
        lambda: masking.success_does_not_grow({0.5: 3, 0.25: 4, 1.0: 5}),
        lambda: masking.success_does_not_grow({0.5: 4, 0.25: 4, 1.0: 5}),
    ),
    "attacks_missed": (
        lambda: masking.attacks_missed({0.5: YES, 1.0: YES}, np.array([0.7, np.inf])),
        lambda: masking.attacks_missed({0.5: YES, 1.0: ~YES}, np.array([0.7, np.inf])),
    ),
    "square_beats_gradients": (
        lambda: masking.square_beats_gradients({"apgd-ce": NO, "square": YES}),
        lambda: masking.square_beats_gradients({"apgd-ce": YES, "square": NO}),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_alarm_rings_and_is_silent(name):
    rings, silent = (case() for case in CASES[name])
    assert (rings.name, rings.rings) == (name, True)
    assert (silent.name, silent.rings) == (name, False)
    assert rings.found != silent.found


def test_an_attack_that_found_nothing_at_all_is_a_sign_too():
    nothing = masking.gradients_lead_nowhere(["", ""])
    assert nothing.rings
    assert nothing.found == "no change to another class was found of 2 images"


def test_what_is_found_is_told_in_numbers():
    missed = masking.attacks_missed({0.5: YES, 1.0: YES}, np.array([0.7, np.inf]))
    assert missed.found.endswith("left right: 1 at ε 1")
    shrinks = masking.success_does_not_grow({0.25: 4, 0.5: 3})
    assert "4 at 0.25 and 3 at 0.5" in shrinks.found
    assert not masking.square_beats_gradients({"square": YES}).rings  # nothing to compare with
