"""Upper bounds on the operator norm of matrices, real or complex, never from power iteration.

For any square V whatever with ‖VᴴV - I‖∞ ≤ d < 1, σ(W)² ≤ ‖(WV)ᴴ(WV)‖∞ / (1 - d): W = (WV)V⁻¹,
‖V⁻¹‖² = 1/λ_min(VᴴV) ≤ 1/(1 - d), and ‖M‖₂ ≤ ‖M‖∞ for Hermitian M.  With V the eigenvectors of
WᴴW, WV has orthogonal columns and the bound is tight to 1e-10; nothing about the decomposition
needs trust, since a bad V makes the bound loose and not wrong.  With V = I no decomposition is
needed, and the bound is tight where W is nearly orthogonal.

Of a stack of matrices only the largest norm is asked.  Those that a cheaper bound shows to be
smaller are not decomposed: σ(W) ≤ ‖(WᴴW)^(2^t)‖_F^(1/2^(t+1)) for any t.

Each product is charged |fl(XY) - XY| ≤ g(n) |X||Y| entrywise, in any order of summation, n the
inner dimension; a complex product is real ones of twice the length.

Source: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", SIAM 2002, chapter 3;
S. M. Rump, "Verified bounds for singular values", BIT 51, 2011; B. Delattre et al., "Efficient
Bound of Lipschitz Constant for Convolutional Layers by Gram Iteration", ICML 2023,
arXiv:2305.16173.
"""

import math

import numpy as np
from jaxtyping import Complex, Float

from models.errors import CertifyError
from models.proof.upward import FLOAT64, up, up_array

Matrix = Float[np.ndarray, "rows columns"]
Stack = Float[np.ndarray, "matrices _ _"] | Complex[np.ndarray, "matrices _ _"]
Norms = Float[np.ndarray, " matrices"]

CLOSE = 1e-6
"""A stack's bound may be that much above its norm, relative, where this saves decompositions."""
AT_ONCE = 16
"""Matrices of a stack that are decomposed before the others are looked at again."""
SQUARINGS = 4
"""Of WᴴW, in the cheaper bound; it is at most n^(1/64) too large."""


def matrix_norm_bound(matrix: Matrix) -> float:
    """Upper bound on the spectral norm of a real matrix.

    Args:
        matrix: finite float32 values (any dtype that holds them exactly in float64).

    Returns:
        The bound, in float64; exactly 0 only for a zero matrix.

    Raises:
        CertifyError: If an entry is not finite, or the decomposition fails its own check.
    """
    return stack_norm_bound(np.asarray(matrix, dtype=np.float64)[None], close=0.0)


def stack_norm_bound(stack: Stack, *, at_least: float = 0.0, close: float = CLOSE) -> float:
    """Upper bound on the largest spectral norm of a stack of matrices.

    Args:
        stack: finite values of float32's range; anything is computed in float64.
        at_least: a number that the answer need not go below, such as another stack's bound.
        close: looseness, relative, that may be accepted to save work.

    Returns:
        The bound, in float64, or `at_least` where that is larger.

    Raises:
        CertifyError: If an entry is not finite, or a decomposition fails its own check.
    """
    if not np.isfinite(stack).all():
        raise CertifyError("the norm of a matrix with NaN or infinite entries has no bound")
    W = stack.astype(np.complex128 if np.iscomplexobj(stack) else np.float64)
    W = W if W.shape[1] >= W.shape[2] else _adjoint(W)
    exponent = int(np.frexp(max(np.abs(W.real).max(), np.abs(W.imag).max()))[1])
    if not W.any():
        return at_least
    W *= math.ldexp(1.0, -exponent)  # exact: the largest entry is in [1/2, 1)
    G = _adjoint(W) @ W
    bounds = _row_sum_bounds(W, G)
    # What the largest norm is known to reach only says when to stop, so it needs no proof.
    columns = np.sqrt(G.real.diagonal(axis1=1, axis2=2).max())
    reached = max(float(columns), math.ldexp(at_least, -exponent))
    left = np.flatnonzero(bounds > reached * (1 + close))
    if len(left) > AT_ONCE:
        bounds[left] = np.minimum(bounds[left], _squaring_bounds(W[left], G[left]))
    while len(left := left[bounds[left] > reached * (1 + close)]):
        order = np.argsort(-bounds[left])
        now, left = left[order[:AT_ONCE]], left[order[AT_ONCE:]]
        bounds[now] = np.minimum(bounds[now], _decomposed_bounds(W[now], G[now]))
        reached = max(reached, float(bounds[now].max()))
    return max(at_least, math.ldexp(float(bounds.max()), exponent))


def absolute_norm_bound(matrix: Matrix) -> float:
    """Upper bound on the spectral norm of the matrix of absolute values: √(‖A‖₁ ‖A‖∞)."""
    magnitudes = np.abs(np.asarray(matrix, dtype=np.float64))
    largest_column, largest_row = magnitudes.sum(axis=0).max(), magnitudes.sum(axis=1).max()
    if largest_row == 0:
        return 0.0
    return up(math.sqrt(largest_column) * math.sqrt(largest_row), sum(magnitudes.shape) + 4)


def _decomposed_bounds(W: Stack, G: Stack) -> Norms:
    """Norms from row sums after the best rotation, held against the eigenvalues."""
    try:
        eigenvalues, V = np.linalg.eigh(G)
    except np.linalg.LinAlgError as fault:
        raise CertifyError(
            f"no decomposition of a {W.shape[1]}×{W.shape[2]} matrix was found ({fault}); accepted "
            "are weights whose norm can be proved"
        ) from None
    expected = np.sqrt(np.maximum(eigenvalues[:, -1], 0.0))
    bounds = _rotated_bounds(W, V)
    if not (expected <= bounds * (1 + 1e-12)).all():
        worst = int(np.argmax(expected - bounds))
        raise CertifyError(
            f"two ways to bound a norm disagree: {expected[worst]} from the decomposition, "
            f"{bounds[worst]} from its check"
        )
    return bounds


def _rotated_bounds(W: Stack, V: Stack) -> Norms:
    """σ(W) from W V and the defect of V; both sides rounded up."""
    _, m, n = W.shape
    cost = _product_cost(n, V)
    aW, aV = np.abs(W), np.abs(V)
    rows_of_V = aV.sum(axis=2, keepdims=True)
    largest_row = (aW @ rows_of_V).max(axis=(1, 2))
    largest_column = (_adjoint(aV) @ aW.sum(axis=1)[:, :, None]).max(axis=(1, 2))
    product_error = up_array(np.sqrt(largest_row * largest_column), m + 2 * n + 8) * cost

    defect_rows = up_array(np.abs(_adjoint(V) @ V - np.eye(n)).sum(axis=2), n + 6)
    defect_rows += up_array((_adjoint(aV) @ rows_of_V)[:, :, 0], 2 * n + 4) * cost
    defect = up_array(defect_rows.max(axis=1), 4)
    if not (defect < 0.5).all():
        raise CertifyError(
            f"a rotation is {defect.max():.3g} from orthogonal; accepted is below 0.5"
        )
    P = W @ V
    return up_array((_row_sum_bounds(P, _adjoint(P) @ P) + product_error) / np.sqrt(1 - defect), 12)


def _row_sum_bounds(P: Stack, G: Stack) -> Norms:
    """√‖PᴴP‖∞ from G, the product as computed, with what it can have lost."""
    _, m, n = P.shape
    aP = np.abs(P)
    rows = up_array(np.abs(G).sum(axis=2), n + 6)
    lost = (_adjoint(aP) @ aP.sum(axis=2, keepdims=True))[:, :, 0]
    rows += up_array(lost, m + n + 4) * _product_cost(m, P)
    return up_array(np.sqrt(rows.max(axis=1)), 6)


def _squaring_bounds(W: Stack, G: Stack) -> Norms:
    """σ(W) from the Frobenius norm of a high power of G, WᴴW as computed.

    ‖G‖² = ‖GᴴG‖ ≤ ‖fl(GᴴG)‖ + g ‖G‖_F² is unwound step by step.  Each G is scaled by a power of
    two of its own, so that nothing overflows or underflows by more than 2⁻¹⁰⁰⁰ an entry.
    """
    n = W.shape[2]
    steps = [(np.ones(len(W)), np.square(_frobenius_bounds(W)) * _product_cost(W.shape[1], W))]
    for _ in range(SQUARINGS):
        norms = _frobenius_bounds(G)
        scale = 2.0 ** np.frexp(norms)[1]
        steps.append((scale, np.square(norms / scale) * _product_cost(n, G) + n * n * 2.0**-1000))
        G = G / scale[:, None, None]
        G = _adjoint(G) @ G
    bounds = _frobenius_bounds(G)
    for scale, lost in reversed(steps):
        bounds = scale * up_array(np.sqrt(bounds + lost), 8)
    return bounds


def _frobenius_bounds(G: Stack) -> Norms:
    """Upper bounds on the Frobenius norms."""
    flat = np.ascontiguousarray(G).reshape(len(G), -1).view(np.float64)
    return up_array(np.sqrt(np.einsum("mi,mi->m", flat, flat)), flat.shape[1] + 4)


def _adjoint(stack: Stack) -> Stack:
    """Conjugate transposes, laid out for fast products."""
    return np.ascontiguousarray(stack.swapaxes(1, 2).conj())


def _product_cost(inner: int, stack: Stack) -> float:
    """Factor g with |fl(XY) - XY| ≤ g |X||Y| for an inner dimension."""
    if np.iscomplexobj(stack):
        return up(math.sqrt(2) * FLOAT64.gamma(2 * inner + 4), 2) * (1 + 2.0**-40)
    return FLOAT64.gamma(inner + 2) * (1 + 2.0**-40)
