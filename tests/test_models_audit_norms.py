"""The audit's norms and bounds: never below the truth, nor so far off that a lie passes."""

import numpy as np
import pytest
from mpmath import mp

from models.audit.bounds import confirmed_bounds
from models.audit.evaluation import evaluate
from models.audit.graph import Graph, Step
from models.audit.norms import distance_bounds, norm_bound
from models.audit.rules import stretches
from models.errors import VerificationError


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (40, 40), (200, 64)])
def test_a_norm_bound_is_never_below_the_truth_and_close(shape):
    W = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    truth = np.linalg.norm(W.astype(np.float64), 2)
    assert truth <= norm_bound(W) <= truth * (1 + 1e-10)


@pytest.mark.parametrize("side", [2, 64, 333])
def test_all_equal_entries_have_an_exact_norm(side):
    W = np.full((side, 3), np.float32(0.1))
    with mp.workprec(200):
        assert mp.mpf(norm_bound(W)) >= mp.mpf(float(np.float32(0.1))) * mp.sqrt(3 * side)


def test_zero_and_nan():
    assert norm_bound(np.zeros((2, 3))) == 0
    assert norm_bound(np.array([[np.nan]])) == np.inf


def test_distances_are_zero_exactly_for_equal_rows():
    rows = np.array([[1, 2], [1, 2], [1e-38, 2]], dtype=np.float32)
    found = distance_bounds(rows)
    assert found[0, 1] == 0 < found[0, 2]


def claim(W, factor):
    step = Step("head", "MatMul", ("x", "w"), "logits", {1: W.T})
    graph = Graph("x", (W.shape[1],), (step,), {}, ("logits",))
    pairs = distance_bounds(W)
    row = {"operator": "MatMul", "factor": factor, "bound": factor}
    return graph, {
        "operators": [row],
        "lipschitz_bound": factor,
        "feature_bound": 1.0,
        "pair_bounds": pairs.tolist(),
    }


def test_a_factor_too_low_by_1e_9_is_not_confirmed():
    W = np.random.default_rng(0).standard_normal((10, 64)).astype(np.float32)
    confirmed_bounds(*claim(W, norm_bound(W)))
    with pytest.raises(VerificationError, match="factor of head"):
        confirmed_bounds(*claim(W, norm_bound(W) * (1 - 1e-9)))


@pytest.mark.parametrize(
    ("kind", "constants"),
    [
        ("Concat", {1: np.ones((1, 3), np.float32)}),
        ("Div", {0: np.ones(3, np.float32)}),
        ("Div", {1: np.zeros(3, np.float32)}),
        ("Mul", {}),
        ("MatMul", {0: np.eye(3, dtype=np.float32)}),
        ("Add", {1: np.full(3, np.nan, np.float32)}),
    ],
)
def test_a_form_without_a_rule_is_refused_by_name(kind, constants):
    step = Step("odd", kind, ("x", "y"), "logits", constants)
    with pytest.raises(VerificationError, match=rf"operators: odd \({kind}\)"):
        stretches(Graph("x", (3,), (step,), {}, ("logits",)) if constants else both(step))


def both(step):
    copy = Step("copy", "Relu", ("x",), "y", {})
    return Graph("x", (3,), (copy, step), {}, ("logits",))


def test_a_constant_that_enlarges_its_operand_is_refused():
    step = Step("wide", "Mul", ("x", "c"), "logits", {1: np.ones((1, 4), np.float32)})
    graph = Graph("x", (1,), (step,), {}, ("logits",))
    with pytest.raises(VerificationError, match="wide"):
        evaluate(graph, np.zeros((2, 1), np.float32), [1.0])


def test_logits_are_as_near_to_the_exact_ones_as_is_said():
    rng = np.random.default_rng(1)
    W = rng.standard_normal((4, 50)).astype(np.float32)
    step = Step("head", "MatMul", ("x", "w"), "logits", {1: W.T})
    images = rng.random((3, 50)).astype(np.float32)
    graph = Graph("x", (50,), (step,), {}, ("logits",))
    logits, errors = evaluate(graph, images, [norm_bound(W)])
    with mp.workprec(200):
        for x, z, error in zip(images, logits, errors, strict=True):
            exact = [
                mp.fsum(mp.mpf(float(w)) * float(p) for w, p in zip(row, x, strict=True))
                for row in W
            ]
            assert (
                mp.norm([mp.mpf(float(c)) - e for c, e in zip(z, exact, strict=True)])
                <= error
                < 1e-12
            )
