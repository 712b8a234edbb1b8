"""The audit's own proof of slopes, and smooth functions in every spelling, honest and forged."""

import math

import numpy as np
import pytest
from onnx import helper

from models.audit import slopes
from models.audit.arithmetic import FLOAT64
from models.audit.formulas import OPERATIONS, chain, evaluated, loss_of, slope_bound
from models.audit.graph import read_graph
from models.audit.rounding import errors_of_pairs
from models.audit.slopes import Cells, Span, accurate, between, erf, sigmoid, softplus, steepest
from models.errors import VerificationError
from tests import test_models_proof_smooth as smooth
from tests.audits import audit_bounds, check_honest, claims_of
from tests.oracles import form, onnx_file

node = helper.make_node
SHORT = [name for name in smooth.FORMS if name != "softplus, steeper"]
"""That one's jump is wider than what honest claims are held to."""
TOLD = {
    "plus": (0.7,),
    "times": (-1.3,),
    "over": (0.3,),
    "from": (0.4,),
    "between": (-0.5, 1.5),
}
TWO = ("sum", "difference", "product")


@pytest.mark.parametrize("name", OPERATIONS)
def test_cells_hold_values_and_slopes_of_every_operation(name):
    rng = np.random.default_rng(0)
    low = rng.uniform(-4, 4, 400)
    high = low + rng.choice([0, 1e-6, 0.1, 3], 400)
    reads = (1, 1) if name in TWO else (1,)
    formula = chain(("times", (0.9,)), (name, TOLD.get(name, ()), reads))
    ones, nothing = np.ones(400), np.zeros(400)
    cells = evaluated(formula, Cells(Span(low, high), Span(ones, ones), nothing))
    for share in (0, 0.3, 0.5, 1):
        x = low + share * (high - low)
        y = evaluated(formula, x)
        assert ((cells.value.low <= y) & (y <= cells.value.high)).all()
        step = 1e-5
        slope = (evaluated(formula, x + step) - evaluated(formula, x - step)) / (2 * step)
        kinked = name == "between"
        inside = (cells.slope.low - 1e-8 <= slope) & (slope <= cells.slope.high + 1e-8)
        assert inside.mean() > (0.99 if kinked else 1 - 1e-9)


KNOWN = {
    "erf": (erf, 2 / math.sqrt(math.pi)),
    "sigmoid": (sigmoid, 0.25),
    "softplus": (softplus, 1),
    "a ramp": (lambda x: between(x * 3.0, 0.0, 1.0), 3),
    "a quick swish": (lambda x: x * sigmoid(x * 1e6), 1.0998393201288),
    "a slow swish": (lambda x: x * sigmoid(x * 1e-6), 1.0998393201288),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_steepest_slope_is_found_from_above(name):
    formula, known = KNOWN[name]
    found = steepest(formula)
    assert known * (1 - 1e-12) <= found <= known * (1 + 2e-9)
    assert accurate(formula, 2.0**-40 * max(1, found))


def test_alarm_a_slope_without_a_bound_and_a_loss_without_one_are_seen(monkeypatch):
    assert steepest(lambda x: x * x) > 2.0**300
    assert not accurate(lambda x: (x + 1e12) + -1e12, 2.0**-40)
    moved = chain(("plus", (1e12,)), ("plus", (-1e12,)), ("Tanh", ()))
    assert loss_of(moved, "a test").absolute == math.inf
    monkeypatch.setattr(slopes, "MOST_CELLS", 4)
    assert steepest(lambda x: x * sigmoid(x)) > 1.12  # too few cells: loose, and still a bound


@pytest.mark.parametrize("name", SHORT)
def test_every_spelling_is_audited(name):
    check_honest(smooth.FORMS[name][0])


@pytest.mark.parametrize("name", smooth.FORMS)
def test_a_bound_a_little_too_low_is_named(name):
    content, claimed = smooth.FORMS[name][0], claims_of(smooth.FORMS[name][0])
    audit_bounds(content, claimed)
    for row in claimed["operators"]:
        row["bound"] *= 1 - 1e-5
        row["factor"] *= 1 - 1e-5
    with pytest.raises(VerificationError, match=r"bounds: (factor of|bound behind) \w+ \("):
        audit_bounds(content, claimed)


@pytest.mark.parametrize("name", smooth.PLACES)
def test_entries_picked_by_places_are_audited(name):
    before, places, after, _ = smooth.PLACES[name]
    graph = check_honest(smooth.indexed(before, places, after))
    assert graph.steps[0].kind == "Index"
    claimed = claims_of(smooth.indexed(before, places, after))
    with pytest.raises(VerificationError, match="bounds: factor of g"):
        audit_bounds(smooth.indexed(before, places, after), cheaper(claimed))


def cheaper(claimed):
    for row in claimed["operators"]:
        row["factor"] *= 0.9
    return claimed


@pytest.mark.parametrize(
    ("before", "places", "after", "found"),
    [
        ((0, 1, 2), smooth.ROWS, (1, 0, 2), "places in the batch"),
        ((1, 0, 2), smooth.ROWS, (0, 1, 2), "leaves the batch inside"),
        ((1, 0, 2), smooth.ROWS + 9, (1, 0, 2), "outside the axes"),
    ],
)
def test_places_that_mix_the_batch_or_lie_outside_are_refused(before, places, after, found):
    with pytest.raises(VerificationError, match=found):
        read_graph(smooth.indexed(before, places, after))


LOOKALIKES = (
    "a gate of something else", "an exponential that grows", "a name of ours in a file",
    "a softplus with another divisor", "a softplus above the wrong side",
    "a fraction with another denominator", "a logarithm of something else",
)  # fmt: skip


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_only_looks_like_a_function_is_refused(name):
    with pytest.raises(VerificationError, match="operators: "):
        read_graph(smooth.REFUSED[name][0])


def test_a_gate_that_is_no_usual_one_has_the_bound_of_what_it_is():
    """Erf moved by 2 in place of 1: the prover knows no such function, the audit proves it."""
    found = read_graph(smooth.REFUSED["an error function moved by 2"][0]).steps[0].factor
    x = np.linspace(-8, 8, 200_001)
    y = 0.5 * x * (2 + evaluated((("Erf", (), (0,)),), x / np.float64(smooth.ROOT2)))
    seen = np.abs(np.diff(y) / np.diff(x)).max()
    assert seen <= found <= seen * (1 + 1e-6)


@pytest.mark.parametrize("threshold", [3.0, -1e3])
def test_a_jump_that_is_claimed_too_low_is_named(threshold):
    content = smooth.thresholded(threshold=threshold)
    claimed = claims_of(content)
    audit_bounds(content, claimed)
    jump = 2 * np.logaddexp(0.0, -threshold)
    own, _ = errors_of_pairs(read_graph(content), FLOAT64)
    assert own[0, 1] > jump
    claimed["float64"]["constant"][0][1] = 0.9 * jump
    with pytest.raises(VerificationError, match="float64 constant of classes 0 and 1"):
        audit_bounds(content, claimed)


def test_a_tensor_beyond_what_slopes_are_proved_of_is_not_confirmed():
    far = np.float32(2.0**100)
    nodes = [node("Mul", ["x", "far"], ["a"]), node("Mul", ["a", "far"], ["b"]),
             node("Mul", ["b", "far"], ["c"]), node("Softsign", ["c"], ["s"]),
             node("Mul", ["x", "one"], ["y"]), node("Add", ["s", "y"], ["logits"])]  # fmt: skip
    content = onnx_file(nodes, shape=(3,), weights={"far": far, "one": np.float32(1)})
    assert errors_of_pairs(read_graph(content), FLOAT64)[0][0, 1] >= 2.0**900


def test_a_slope_claimed_as_one_is_not_confirmed():
    """The wrong rule that an activation is 1-Lipschitz."""
    content = smooth.FORMS["silu"][0]
    claimed = claims_of(content)
    for row in claimed["operators"]:
        row["factor"], row["bound"] = 1.0, 1.0
    with pytest.raises(VerificationError, match=r"factor of g \(gated product\)"):
        audit_bounds(content, claimed)


def test_equal_formulas_are_proved_once():
    gates = form(
        node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["a"]),
        node("Sigmoid", ["a"], ["t"]), node("Mul", ["t", "a"], ["g"]), shape=(4,),
    )  # fmt: skip
    before = slope_bound.cache_info()
    assert len([step.factor for step in read_graph(gates).steps]) == 3
    assert slope_bound.cache_info().misses <= before.misses + 2
