"""The arithmetic of the bounds against the same formulas in 200-bit ball arithmetic."""

import itertools

import numpy as np
import pytest
from flint import arb, arb_mat, ctx

from models.proof.bounds import prove
from models.proof.operators.affine import Dense
from models.proof.reading.reader import read_program
from models.proof.upward import FLOAT32, FLOAT64, Precision
from tests.oracles import dense_file

TIGHT = 1e-8
"""Largest looseness of our rounded-up figures against the exact formulas, relative."""


@pytest.fixture(autouse=True)
def _two_hundred_bits():
    before, ctx.prec = ctx.prec, 200
    yield
    ctx.prec = before


def ball(value):
    return arb(float(value))


def norm(values):
    return sum((ball(v) ** 2 for v in np.ravel(values)), arb(0)).sqrt()


def spectral_norm(W):
    """σ(W) from the eigenvalues of WᵀW, to some 190 bits."""
    exact = arb_mat([[ball(v) for v in row] for row in W])
    eigenvalues = (exact.transpose() * exact).eig(algorithm="approx")
    return max((value.real.mid() for value in eigenvalues), key=float).sqrt()


def gamma(n, unit):
    return n * ball(unit) / (1 - n * ball(unit))


def reference(program, precision, *, cast):
    """Norm and error of the features as (a, b), and the pair errors, in balls."""
    u, mu, d = ball(precision.unit), ball(precision.smallest), program.input_size
    norms = (arb(0), arb(1))
    errors = (arb(d).sqrt() * mu, u) if cast else (arb(0), arb(0))
    for operator, shape in zip(program.operators[:-1], program.shapes[:-1], strict=True):
        if operator.kind == "Flatten":
            continue
        m = arb(int(np.prod(shape))).sqrt()
        rho = tuple(v + e for v, e in zip(norms, errors, strict=True))
        if isinstance(operator, Dense):
            W, n = operator.weight.array.astype(float), operator.weight.array.shape[1]
            factor, offset = spectral_norm(W), norm(operator.bias.array)
            sums = [sum((abs(ball(v)) for v in row), arb(0)) for row in (*W, *W.T)]
            rows, columns = sums[: len(W)], sums[len(W) :]
            absolute = (max(rows, key=float) * max(columns, key=float)).sqrt()
            rounding, terms, largest = gamma(n + 1, precision.unit), n, np.abs(W).max()
        else:
            slope = np.abs(operator.slope.array).max()
            factor, offset, absolute = ball(max(1, slope)), arb(0), ball(max(1, slope))
            rounding, terms, largest = gamma(1, precision.unit), 1, max(1, slope)
        flushed = 8 * terms * m * mu
        lost = (
            rounding * (absolute * rho[0] + offset) + flushed * (1 + ball(largest) + rho[0]),
            rounding * absolute * rho[1] + flushed * rho[1],
        )
        norms = (factor * norms[0] + offset, factor * norms[1])
        errors = tuple(factor * e + own for e, own in zip(errors, lost, strict=True))
    return norms, errors


def pair_reference(program, precision, *, cast, i, j):
    """L_ij relative to the features, and A_ij and B_ij."""
    (va, vb), (da, db) = reference(program, precision, cast=cast)
    head = program.head
    W, b = head.weight.array.astype(float), head.bias.array.astype(float)
    n, mu = W.shape[1], ball(precision.smallest)
    distance = sum(((ball(x) - ball(y)) ** 2 for x, y in zip(W[i], W[j], strict=True)), arb(0))
    together = sum(
        ((abs(ball(x)) + abs(ball(y))) ** 2 for x, y in zip(W[i], W[j], strict=True)), arb(0)
    ).sqrt()
    cost = gamma(n + 1, precision.unit)
    biases = abs(ball(b[i])) + abs(ball(b[j]))
    flushed = 16 * n * mu
    grown = distance.sqrt() + cost * together
    A = grown * da + cost * (together * va + biases)
    A += flushed * (va + da + 1 + ball(np.abs(W).max()))
    B = grown * db + cost * together * vb + flushed * (vb + db)
    return distance.sqrt(), A, B


def network(seed):
    rng = np.random.default_rng(seed)
    sizes = [6, int(rng.integers(2, 9)), int(rng.integers(2, 9)), 3]
    matrices = [rng.standard_normal((n, m)) for m, n in itertools.pairwise(sizes)]
    return dense_file(matrices, [rng.standard_normal(len(W)) for W in matrices], shape=(6,))


def figures(program, bounds, precision):
    """Each figure with the exact value that it must be at least."""
    error = bounds.float32 if precision is FLOAT32 else bounds.float64
    body = arb(1)
    for operator in program.operators[:-1]:
        if isinstance(operator, Dense):
            body *= spectral_norm(operator.weight.array.astype(float))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        distance, A, B = pair_reference(program, precision, cast=precision is FLOAT32, i=i, j=j)
        pairs = [
            (bounds.pair_bounds[i, j], distance * body),
            (error.constant[i, j], A),
            (error.slope[i, j], B),
        ]
        yield from ((ball(found), exact) for found, exact in pairs)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("precision", [FLOAT32, FLOAT64])
def test_every_figure_is_above_the_exact_formula_and_hardly(seed, precision):
    program = read_program(network(seed))
    for found, exact in figures(program, prove(program), precision):
        assert found >= exact
        assert found <= exact * (1 + TIGHT)


def test_alarm_a_rounding_that_is_charged_once_too_little(monkeypatch):
    program, honest = read_program(network(0)), Precision.gamma
    monkeypatch.setattr(Precision, "gamma", lambda self, n: honest(self, n - 1) if n > 1 else 0.0)
    found = figures(program, prove(program), FLOAT32)
    assert any(figure < exact for figure, exact in found)
