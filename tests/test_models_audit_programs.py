"""The audit against the prover: honest claims hold, lies about any of them are named."""

import copy
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.audit.arithmetic import FLOAT32, FLOAT64
from models.audit.graph import read_graph
from models.audit.lipschitz import walked
from models.audit.rounding import errors_of_pairs, uncovered_float32
from models.audit.torus import torus_bound
from models.errors import VerificationError
from tests import test_models_proof_elementwise as elementwise
from tests import test_models_proof_patterns as patterns
from tests import test_models_proof_pooling as pooling
from tests import test_models_proof_reading as reading
from tests import test_models_proof_reading_checks as checks
from tests import test_models_proof_resizing as resizing
from tests import test_models_proof_selection as selection
from tests.audits import audit_bounds, check_honest, claims_of, lowered
from tests.oracles import form, onnx_file
from tests.strategies import draws, programs

node = helper.make_node
SEEDS = st.integers(0, 2**31)


@given(programs(), SEEDS)
@draws(test=40, fuzz=3000)
def test_honest_claims_hold(content, seed):
    check_honest(content, seed=seed)


@given(programs(), SEEDS)
@draws(test=25, fuzz=2000)
def test_a_lie_about_any_step_is_named(content, seed):
    claimed = claims_of(content)
    rng = np.random.default_rng(seed)
    names = [row["name"] for row in claimed["operators"]]
    rows = [row for row in claimed["operators"] if names.count(row["name"]) == 1]
    rows = [row for row in rows if row["factor"] and row["bound"]]  # less than 0 is no lie
    if not rows:
        return
    row = rows[int(rng.integers(len(rows)))]
    row[("factor", "bound")[int(rng.integers(2))]] *= 0.7
    named = re.escape(row["name"])
    with pytest.raises(VerificationError, match=rf"bounds: (factor of|bound behind) {named}"):
        audit_bounds(content, claimed)


@given(programs(), SEEDS)
@draws(test=25, fuzz=2000)
def test_a_lie_about_any_pair_of_classes_is_named(content, seed):
    claimed, graph = claims_of(content), read_graph(content)
    rng = np.random.default_rng(seed)
    tables = [(claimed["pair_bounds"], np.array(claimed["pair_bounds"]))]
    for name, computed_in in (("float64", FLOAT64), ("float32", FLOAT32)):
        if claimed[name] is not None:
            constant, slope = errors_of_pairs(graph, computed_in)
            tables += [(claimed[name]["constant"], constant), (claimed[name]["slope"], slope)]
    table, proved = tables[int(rng.integers(len(tables)))]
    i, j = rng.choice(len(table), 2, replace=False)
    if proved[i, j] < 1e-100:  # equal rows, or the floor under what may underflow
        return
    table[i][j] = min(0.9 * proved[i, j], 0.9 * table[i][j])
    with pytest.raises(VerificationError, match=f"classes {i} and {j}"):
        audit_bounds(content, claimed)


FORMS = (
    elementwise.FORMS
    | pooling.FACTORS
    | selection.FORMS
    | {name: (content,) for name, content in reading.ACCEPTED.items()}
)
BORROWED = {name: row[0] for name, row in FORMS.items() if b"Softmax" not in row[0]}


@pytest.mark.parametrize("name", BORROWED)
def test_a_form_that_the_prover_accepts_is_audited(name):
    check_honest(BORROWED[name])


REFUSED = {
    f"{room.__name__.rpartition('_')[2]}: {name}": row[0]
    for room in (elementwise, pooling, selection, resizing, reading, checks)
    for name, row in room.REFUSED.items()
    if name != "more values than fit"  # as many as that take seconds to be found out
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_form_that_the_prover_refuses_is_refused(name):
    with pytest.raises(VerificationError, match="operators: "):
        read_graph(REFUSED[name])


def ints(*entries):
    return np.array(entries, dtype=np.int64)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


CONVOLUTIONS = {
    "auto_pad": ((2, 5, 6), random(4, 2, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    "auto_pad, more before": ((2, 5), random(4, 2, 4), {"auto_pad": "SAME_LOWER"}),
    "groups": ((4, 5, 5), random(6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    "dilation": ((2, 7, 5), random(3, 2, 3, 2), {"dilations": [2, 3], "pads": [2, 0, 2, 1]}),
    "three axes": ((2, 3, 4, 3), random(2, 2, 2, 2, 2), {"strides": [1, 2, 1]}),
    "stride beyond the kernel": ((2, 7), random(3, 2, 2), {"strides": [3]}),
    "pads beyond the kernel": ((1, 4), random(2, 1, 2), {"pads": [3, 4]}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_convolutions_are_audited(kind, name):
    shape, kernel, attributes = CONVOLUTIONS[name]
    if kind == "ConvTranspose":
        if "auto_pad" in attributes or name == "pads beyond the kernel":
            return
        shape = (kernel.shape[0], *shape[1:])
        attributes = attributes | {"output_padding": [0] * (len(shape) - 1)}
    check_honest(form(node(kind, ["x", "K"], ["g"], **attributes), shape=shape, K=kernel))


def false_rules():
    """Rules that are wrong, each with the bound that it gives."""
    kernel = np.array([[[1, -1]]], dtype=np.float32)
    padded = form(node("Conv", ["x", "K"], ["g"], pads=[1, 1]), shape=(1, 3), K=kernel)
    facts = read_graph(padded).steps[0].facts
    yield "the torus of the image", padded, torus_bound(facts["kernel"], facts["windows"], (3,))
    borders = {"kernel_shape": [3], "pads": [2, 2], "strides": [1]}
    yield (
        "1 / √k² for an average with borders",
        form(node("AveragePool", ["x"], ["g"], **borders), shape=(1, 2)),
        3**-0.5,
    )
    wide = np.ones((1, 4), np.float32)
    yield (
        "the largest factor, where a constant enlarges",
        form(node("Mul", ["x", "c"], ["g"]), shape=(1,), c=wide),
        1.0,
    )
    for name, nodes in patterns.NOT_PAIRED.items():
        content = patterns.file(*nodes, seven=ints(7), **patterns.LENGTHS)
        yield f"1 for what is no MaxMin: {name}", content, 1.0
    for name, nodes in patterns.NOT_CENTRED.items():
        yield f"1 for what takes no mean off: {name}", patterns.centred(*nodes), 1.0
    shared = (
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("Add", ["a", "b"], ["c"]),
        node("Concat", ["c", "b"], ["logits"], axis=1),
    )
    yield "the largest of parts that share a slice", onnx_file(shared, shape=(6,)), 2**0.5
    A = random(6, 6)
    A /= np.linalg.norm(A, 2) / 2**0.5
    residual = (
        node("MatMul", ["x", "A"], ["h"]),
        node("Abs", ["h"], ["s"]),
        node("MatMul", ["s", "B"], ["b"]),
        node("Sub", ["x", "b"], ["logits"]),
    )
    yield (
        "1 for a residual layer with Abs",
        onnx_file(residual, shape=(6,), weights={"A": A.T.copy(), "B": A}),
        1.0,
    )
    groups = random(2, 1, 1) * np.float32(0.1)
    yield (
        "the product of groups",
        form(node("Conv", ["x", "K"], ["g"], group=2), shape=(2, 4), K=groups),
        float(np.abs(groups).prod()),
    )
    around = [
        node("Pad", ["x", "pads"], ["p"], mode="wrap"),
        node("Conv", ["p", "K"], ["g"]),
    ]
    ones = np.ones((1, 1, 2), np.float32)
    yield (
        "the image's torus, where pads repeat windows",
        form(*around, shape=(1, 3), pads=ints(0, 0, 2, 0, 0, 2), K=ones),
        2.0,
    )


WRONG = {name: (content, bound) for name, content, bound in false_rules()}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_not_confirmed(name):
    content, bound = WRONG[name]
    claimed = check_and_claim(content)
    share = bound / claimed["lipschitz_bound"]
    assert share < 1 - 1e-3
    with pytest.raises(VerificationError, match="bounds: "):
        audit_bounds(content, lowered(claimed, share))


def check_and_claim(content):
    """Claims that hold as they are."""
    check_honest(content)
    return claims_of(content)


GROUPS = {f"MaxMin: {name}": patterns.file(*nodes, **patterns.LENGTHS)
          for name, nodes in patterns.PAIRED.items()}  # fmt: skip
GROUPS |= {f"L2 pooling: {name}": patterns.pooled(*nodes)
           for name, nodes in patterns.POOLS.items()}  # fmt: skip
GROUPS |= {f"x less its mean: {name}": patterns.centred(*nodes)
           for name, nodes in patterns.CENTRED.items()}  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_is_recognised_and_confirmed(name):
    graph = check_honest(GROUPS[name])
    assert name.partition(":")[0] in {step.kind for step in graph.steps}


def test_a_row_of_no_operator_and_a_missing_row_are_refused():
    content = onnx_file([node("Neg", ["x"], ["logits"], name="only")], shape=(3,))
    claimed = claims_of(content)
    more = copy.deepcopy(claimed)
    more["operators"].append(more["operators"][0] | {"name": "ghost"})
    with pytest.raises(VerificationError, match="a row 'ghost'"):
        audit_bounds(content, more)
    with pytest.raises(VerificationError, match="no row 'only'"):
        audit_bounds(content, claimed | {"operators": []})
    claimed["operators"][0]["operator"] = "Abs"
    with pytest.raises(VerificationError, match=r"takes only \(Neg\) for 'Abs'"):
        audit_bounds(content, claimed)


@pytest.mark.parametrize("kind", ["Tanh", "Softmax"])
def test_a_float32_error_where_none_is_covered_is_refused(kind):
    nodes = [node(kind, ["x"], ["s"], name="smooth"), node("Neg", ["s"], ["logits"])]
    content = onnx_file(nodes, shape=(3,))
    claimed = claims_of(content)
    assert claimed["float32"] is None
    with pytest.raises(VerificationError, match="smooth: float32 runtimes differ"):
        audit_bounds(content, claimed | {"float32": claimed["float64"]})


def test_values_that_may_overflow_have_no_float32_error():
    nodes = [node("MatMul", ["x", "W"], ["h"], name="loud"), node("MatMul", ["h", "W"], ["logits"])]
    weights = {"W": np.eye(3, dtype=np.float32) * np.float32(1e30)}
    content = onnx_file(nodes, shape=(3,), weights=weights)
    assert "may overflow" in uncovered_float32(read_graph(content))
    assert claims_of(content)["float32"] is None


def test_the_bound_of_a_walk_is_of_the_whole_way():
    nodes = [node("Add", ["x", "x"], ["d"]), node("Concat", ["d", "x"], ["logits"], axis=1)]
    graph = read_graph(onnx_file(nodes, shape=(3,)))
    assert walked(graph.source, graph.steps)["logits"] == pytest.approx(5**0.5, rel=1e-12)
