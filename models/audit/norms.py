"""Spectral norms by Cholesky, a proof that shares no step with the prover's rotation.

If the floating-point Cholesky factorisation of A ends, λ_min(A) ≥ -α/(1 - α) tr(A).  So where it
ends for A = s²I - WᵀW lowered by that and by the rounding of A itself, s bounds the norm of W.

Source: S. M. Rump, "Verification of positive definiteness", BIT 46, 2006; α = γ_{n+3} covers
libraries that multiply by reciprocals of the diagonal.
"""

import math

import numpy as np

from models.audit.arithmetic import UNIT, above, gamma, length

STEPS = 25


def norm_bound(matrix: np.ndarray) -> float:
    """Upper bound on the spectral norm of float32 values; infinite where none can be proved."""
    W = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(W).all():
        return math.inf
    if not W.any():
        return 0.0
    if W.shape[0] < W.shape[1]:
        W = W.T
    exponent = int(np.frexp(np.abs(W).max())[1])
    W = np.ldexp(W, -exponent)
    guess = float(np.linalg.svd(W, compute_uv=False)[0])
    gram, error = _gram(W)
    for step in range(STEPS):
        bound = guess * (1 + 4.0**step * 2.0**-48)
        if _dominates(bound, gram, error):
            return math.ldexp(above(bound, 1), exponent)
    return math.inf


def distance_bounds(rows: np.ndarray) -> np.ndarray:
    """Upper bounds on the distance between each two rows; 0 exactly where they are equal."""
    exact = np.asarray(rows, dtype=np.float64)
    return np.array([[length(first - second) for second in exact] for first in exact])


def _gram(W: np.ndarray) -> tuple[np.ndarray, float]:
    """WᵀW as computed, and a bound on the norm of its error."""
    m, n = W.shape
    magnitudes = np.abs(W)
    rows = magnitudes.T @ (magnitudes @ np.ones(n))
    error = above(float(rows.max()), m + n + 4) * gamma(m + 2) * (1 + 2.0**-40)
    return W.T @ W, above(error, 3)


def _dominates(bound: float, gram: np.ndarray, error: float) -> bool:
    """Whether bound² I - WᵀW is proved to be positive semidefinite."""
    n = len(gram)
    square = bound * bound * (1 - 2.0**-51)
    diagonal = np.diagonal(gram)
    alpha = gamma(n + 3)
    trace = float(np.maximum(square - diagonal, 0).sum())
    lowered = alpha / (1 - alpha) * trace + error + 8 * UNIT * square + n * n * 2.0**-1000
    A = -gram
    np.fill_diagonal(A, (square - diagonal) - above(lowered, n + 12))
    try:
        factor = np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(factor).all())
