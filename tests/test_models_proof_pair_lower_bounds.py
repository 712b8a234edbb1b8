"""What is seen of class pairs: below what was proved, close to it, and an alarm where it is not."""

from dataclasses import replace

import numpy as np
import pytest

from models.errors import CertifyError, SoundnessError
from models.proof.bounds import prove
from models.proof.lipschitz import walk
from models.proof.lower_bounds import lower_bounds
from models.proof.norms import matrix
from models.proof.pair_lower_bounds import pair_lower_bounds
from models.proof.reading.reader import read_program
from tests.oracles import dense_file, orthogonal_classifier


def linear(classes, *, pixels=6, seed=0):
    head = np.random.default_rng(seed).standard_normal((classes, pixels))
    return read_program(dense_file([head], [None], shape=(pixels,)))


def test_the_pairs_of_a_linear_classifier_are_seen_whole():
    program = linear(5)
    bounds = prove(program)
    seen = pair_lower_bounds(program, bounds)
    assert (seen <= bounds.pair_bounds).all()
    np.testing.assert_array_equal(seen, seen.T)
    np.testing.assert_allclose(seen, bounds.pair_bounds, rtol=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_no_pair_of_a_network_is_seen_above_its_bound(seed):
    program = read_program(orthogonal_classifier(seed=seed))
    bounds = prove(program)
    seen = pair_lower_bounds(program, bounds, seed=seed)
    apart = ~np.eye(5, dtype=bool)
    assert (seen <= bounds.pair_bounds).all()
    assert (seen[apart] > 0.4 * bounds.pair_bounds[apart]).all()


def test_of_very_many_pairs_the_least_and_the_largest_are_among_those_looked_at():
    program = linear(14)
    bounds = prove(program)
    above = np.triu_indices(14, k=1)
    seen, proved = pair_lower_bounds(program, bounds)[above], bounds.pair_bounds[above]
    looked_at = ~np.isnan(seen)
    assert looked_at.sum() == 64
    assert looked_at[proved.argmin()]
    assert looked_at[proved.argmax()]


def test_equal_rows_have_a_gap_that_never_moves():
    program = read_program(dense_file([np.ones((2, 3))], [np.array([0.0, 1.0])], shape=(3,)))
    np.testing.assert_array_equal(pair_lower_bounds(program, prove(program)), np.zeros((2, 2)))


def test_alarm_a_pair_whose_bound_is_too_small_by_a_millionth_is_named():
    program = linear(3)
    bounds = prove(program)
    lowered = bounds.pair_bounds.copy()
    lowered[0, 2] *= 1 - 1e-6
    with pytest.raises(SoundnessError, match="gap of classes 0 and 2 is seen to move by"):
        pair_lower_bounds(program, replace(bounds, pair_bounds=lowered))


def test_a_decomposition_that_does_not_end_is_told_in_one_line(monkeypatch):
    def give_up(G):
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    program = linear(4)
    monkeypatch.setattr(matrix.np.linalg, "eigh", give_up)
    monkeypatch.setattr(matrix, "_squaring_bounds", lambda W, G: np.full(len(W), np.inf))
    with pytest.raises(CertifyError, match=r"no decomposition of a .* matrix was found") as told:
        prove(program)
    assert "\n" not in str(told.value)


def test_a_direction_that_cannot_be_found_leaves_a_lower_bound(monkeypatch):
    import torch

    def give_up(G):
        raise torch.linalg.LinAlgError("did not converge")

    found = walk(linear(4))
    monkeypatch.setattr(torch.linalg, "eigh", give_up)
    seen = lower_bounds(found)
    assert 0 < seen.operators[-1] <= found.steps[-1].lipschitz_bound
