"""Functions of single entries, Gemm with its factors, and extremes of branches."""

import mpmath
import numpy as np
import pytest
import torch
from onnx import helper

from models.errors import ModelError
from models.proof.bounds import prove
from models.proof.lipschitz import walk
from models.proof.operators.assumed import Softmax
from models.proof.operators.branches import Extreme
from models.proof.operators.operator import Stretch
from models.proof.operators.smooth import Smooth
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests.exact import exact_logits
from tests.oracles import check_form, dense_norm, form, images, onnx_file, steepest

node = helper.make_node
RNG = np.random.default_rng(0)
W = RNG.standard_normal((3, 4)).astype(np.float32)
B = RNG.standard_normal(3).astype(np.float32)
LOW, HIGH = np.array(-0.2, "f4"), np.array([0.3], "f4")
C = np.array([[0.1, -0.3, 0.2, 0.0]], "f4")
TWO = node("Neg", ["x"], ["n"])

FORMS = {
    "clip": (form(node("Clip", ["x", "l", "h"], ["g"]), shape=(4,), l=LOW, h=HIGH), 1),
    "clip below": (form(node("Clip", ["x", "l"], ["g"]), shape=(4,), l=LOW), 1),
    "clip above": (form(node("Clip", ["x", "", "h"], ["g"]), shape=(4,), h=HIGH), 1),
    "clip at infinity": (
        form(node("Clip", ["x", "l", "h"], ["g"]), shape=(4,), l=np.float32(-np.inf), h=HIGH), 1,
    ),
    "clip not at all": (form(node("Clip", ["x"], ["g"]), shape=(4,)), 1),
    "max with a constant": (form(node("Max", ["x", "c"], ["g"]), shape=(4,), c=C), 1),
    "min with two constants": (
        form(node("Min", ["c", "x", "h"], ["g"]), shape=(4,), c=C, h=HIGH), 1,
    ),
    "max with a constant that enlarges": (
        form(node("Max", ["x", "c"], ["g"]), shape=(1,), c=C - 1), 2,
    ),
    "sum with a constant": (form(node("Sum", ["c", "x"], ["g"]), shape=(4,), c=C), 1),
    "sum alone": (form(node("Sum", ["x"], ["g"]), shape=(4,)), 1),
    "max alone": (form(node("Max", ["x"], ["g"]), shape=(4,)), 1),
    "max of two": (form(TWO, node("Max", ["x", "n"], ["g"]), shape=(4,)), 2**0.5),
    "min of three": (form(TWO, node("Min", ["x", "n", "x"], ["g"]), shape=(4,)), 3**0.5),
    "max of two and a constant": (
        form(TWO, node("Max", ["x", "c", "n"], ["g"]), shape=(4,), c=C), 2**0.5,
    ),
    "tanh": (form(node("Tanh", ["x"], ["g"]), shape=(4,)), 1),
    "sigmoid": (form(node("Sigmoid", ["x"], ["g"]), shape=(4,)), 0.25),
    "softplus": (form(node("Softplus", ["x"], ["g"]), shape=(4,)), 1),
    "softmax": (
        form(node("Softmax", ["x"], ["s"]), node("Neg", ["s"], ["g"]), shape=(2, 4)), 0.5,
    ),
    "softmax along an axis": (
        form(node("Softmax", ["x"], ["s"], axis=1), node("Neg", ["s"], ["g"]), shape=(3, 2)), 0.5,
    ),
    "softmax of two": (
        form(node("Softmax", ["x"], ["s"]), node("Neg", ["s"], ["g"]), shape=(2,)), 0.5,
    ),
    "slope": (form(node("LeakyRelu", ["x"], ["g"], alpha=-3.0), shape=(4,)), 3),
    "slopes": (form(node("PRelu", ["x", "s"], ["g"]), shape=(2, 3), s=-2 * np.ones((2, 1), "f4")),
               2),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_form_computes_what_onnx_runtime_computes_and_stretches_no_more_than_its_bound(name):
    content, factor = FORMS[name]
    check_form(content)
    program = read_program(content)
    bound = walk(program).steps[-1].lipschitz_bound
    assert bound == pytest.approx(factor, rel=1e-12)
    for length in (1e-3, 0.3, 3.0):
        found = steepest(program, program.input_shape, seed=1, length=length)
        assert found <= bound * (1 + 1e-9)


@pytest.mark.parametrize("opset", range(13, 24))
def test_every_opset_is_read_alike(opset):
    shape = {"shape": (4,), "opset": opset}
    check_form(form(node("Clip", ["x", "l", "h"], ["g"]), **shape, l=LOW, h=HIGH))
    check_form(form(TWO, node("Max", ["x", "c", "n"], ["g"]), **shape, c=C))
    for kind in ("Tanh", "Sigmoid", "Softplus", "LeakyRelu"):
        check_form(form(node(kind, ["x"], ["g"]), **shape))
    check_form(form(node("Softmax", ["x"], ["s"]), node("Neg", ["s"], ["g"]), **shape))


REFUSED = {
    "a bound that depends on the input": (
        form(node("ReduceMax", ["x"], ["m"], axes=[1]), node("Clip", ["x", "m"], ["g"]),
             shape=(4,), opset=13),
        "minimum that depends",
    ),
    "a bound for each entry": (
        form(node("Clip", ["x", "l"], ["g"]), shape=(4,), l=C), "single float32",
    ),
    "bounds that cross": (
        form(node("Clip", ["x", "h", "l"], ["g"]), shape=(4,), l=LOW, h=HIGH), "below a maximum",
    ),
    "a bound that is NaN": (
        form(node("Clip", ["x", "l"], ["g"]), shape=(4,), l=np.float32(np.nan)), "single float32",
    ),
    "softmax of the batch": (
        form(node("Softmax", ["x"], ["s"], axis=0), node("Neg", ["s"], ["g"]), shape=(4,)),
        "which is the batch",
    ),
    "slopes that depend on the input": (
        form(TWO, node("PRelu", ["x", "n"], ["g"]), shape=(4,)), "slope that depends",
    ),
    "a logarithm in between": (
        form(node("LogSoftmax", ["x"], ["s"]), node("Neg", ["s"], ["g"]), shape=(4,)),
        r"no Lipschitz bound is known for s \(LogSoftmax\)",
    ),
    "extremes of unlike shapes": (
        form(node("Max", ["x", "c"], ["g"]), shape=(3,), c=C), "one that broadcasts",
    ),
    "a batch met by another axis": (
        form(node("ReduceMax", ["x"], ["m"], axes=[1], keepdims=0), node("Max", ["x", "m"], ["g"]),
             shape=(2, 2), opset=13),
        "the batch left alone",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_fixed_is_refused(name):
    content, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        read_program(content)


@pytest.mark.parametrize(("alpha", "beta"), [(2.5, 1.0), (1.0, -3.0), (-0.125, 7.0), (0.3, 0.0)])
def test_gemm_takes_its_factors(alpha, beta):
    gemm = node("Gemm", ["x", "W", "b"], ["logits"], alpha=alpha, beta=beta, transB=1)
    content = onnx_file([gemm], shape=(4,), weights={"W": W, "b": B})
    check_form(content)
    program, bounds = read_program(content), prove(read_program(content))
    assert dense_norm(program) <= bounds.lipschitz_bound <= dense_norm(program) * (1 + 1e-9)
    exact = np.float64(np.float32(alpha)) * W.astype(np.float64)
    assert bounds.pair_bounds[0, 1] == pytest.approx(np.linalg.norm(exact[0] - exact[1]), rel=1e-12)
    x = images(50, (4,))
    computed = run_onnx(content, x, optimised=False)["logits"].astype(np.float64)
    found = program(torch.from_numpy(x.astype(np.float64))).numpy()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        error = np.abs((computed[:, i] - computed[:, j]) - (found[:, i] - found[:, j]))
        norms = np.linalg.norm(x, axis=1)
        assert (error <= bounds.float32.constant[i, j] + bounds.float32.slope[i, j] * norms).all()


def test_factors_left_out_of_the_pairs_are_caught():
    gemm = node("Gemm", ["x", "W"], ["logits"], alpha=4.0, transB=1)
    bounds = prove(read_program(onnx_file([gemm], shape=(4,), weights={"W": W})))
    assert bounds.pair_bounds[0, 1] > 3.9 * np.linalg.norm(W[0] - W[1])


def test_smooth_functions_have_no_float32_radius_and_a_named_assumption():
    nodes = [node("Tanh", ["x"], ["t"]), node("Sigmoid", ["t"], ["s"]), node("Tanh", ["s"], ["g"])]
    bounds = prove(read_program(form(*nodes, shape=(4,))))
    assert bounds.float32 is None
    assert "round Tanh" in bounds.refused_float32
    assert len(bounds.assumptions) == 2
    assert "Tanh in float64 is accurate to" in bounds.assumptions[0]
    assert bounds.to_json()["assumptions"] == list(bounds.assumptions)
    assert type(bounds).from_json(bounds.to_json()).to_json() == bounds.to_json()
    assert bounds.float64.constant[0, 1] > 2.0**-41


def test_a_program_without_such_functions_assumes_nothing():
    assert prove(read_program(FORMS["clip"][0])).assumptions == ()


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "softmax"])
def test_a_smooth_function_is_as_accurate_as_is_assumed(name):
    program = read_program(FORMS[name][0])
    rng = np.random.default_rng(0)
    for scale in (1e-300, 1e-8, 1.0, 30.0, 60.0, 1e3):
        x = rng.standard_normal((1, *program.input_shape)) * scale
        found = program(torch.from_numpy(x)).numpy()[0]
        exact = exact_logits(program, x[0])
        error = max(abs(mpmath.mpf(float(a)) - b) for a, b in zip(found, exact, strict=True))
        assert error <= 2.0**-46 * (1 + np.linalg.norm(x))  # some 60 times better than assumed


ALARMS = {
    "one branch in place of the root of squares": ("max of two", Extreme, 1.0, 1.3),
    "sigmoid: 1/5": ("sigmoid", Smooth, 0.2, 1.2),
    "softmax: 1/4": ("softmax of two", Softmax, 0.25, 1.5),
}


@pytest.mark.parametrize("rule", ALARMS)
def test_a_wrong_rule_is_caught(rule, monkeypatch):
    name, kind, claim, excess = ALARMS[rule]
    program = read_program(SLANTED if name == "max of two" else FORMS[name][0])
    found = max(steepest(program, program.input_shape, seed=s, length=0.01) for s in range(3))
    assert found <= walk(program).steps[-1].lipschitz_bound * (1 + 1e-9)
    monkeypatch.setattr(kind, "stretch", lambda *_: Stretch(method="wrong", factor=claim))
    assert found > excess * walk(program).steps[-1].lipschitz_bound


# Each branch moves one entry of the result by x: together they move it by the root of two.
SLANTED = form(
    node("Gemm", ["x", "P", "p"], ["a"]),
    node("Gemm", ["x", "Q", "q"], ["b"]),
    node("Max", ["a", "b"], ["g"]),
    shape=(1,),
    P=np.array([[1, 0]], "f4"),
    p=np.array([0, -9], "f4"),
    Q=np.array([[0, 1]], "f4"),
    q=np.array([-9, 0], "f4"),
)


def test_a_logarithm_of_shares_reaches_the_root_of_the_classes():
    """Why LogSoftmax is refused before the end: the rule 1 would be wrong, with 10 classes by 3."""
    x = torch.zeros(1, 10, dtype=torch.float64)
    x[0, 0] = 30.0
    step = torch.zeros_like(x)
    step[0, 0] = 1e-3
    moved = torch.log_softmax(x + step, 1) - torch.log_softmax(x, 1)
    assert float(moved.norm() / step.norm()) > 2.9
