"""Spectral norms by Cholesky, a proof that shares no step with the prover's rotation.

If the floating-point Cholesky factorisation of A ends, λ_min(A) ≥ -α/(1 - α) tr(A).  So where it
ends for A = s²I - WᴴW lowered by that and by the rounding of A itself, s bounds the norm of W.
For a stack of matrices, and s for all of them, s bounds the largest norm.

The smallest s that can pass exceeds the norm by what A is lowered by, which for n columns is some
n² 2⁻⁵³ of s² at most: s starts there, and is raised only where the factorisation fails.

Source: S. M. Rump, "Verification of positive definiteness", BIT 46, 2006; α = γ_{n+3} covers
libraries that multiply by reciprocals of the diagonal, √2 γ_{2n+8} those with complex numbers.
"""

import math

import numpy as np

from models.audit.arithmetic import UNIT, above, gamma, length

TRIES = 20


def norm_bound(matrix: np.ndarray) -> float:
    """Upper bound on the spectral norm of float32 values; infinite where none can be proved."""
    return stack_norm_bound(np.asarray(matrix, dtype=np.float64)[None])


def looseness(columns: int) -> float:
    """How far above a norm its bound may end, relative, for so many columns or rows."""
    return columns * columns * 2.0**-51


def stack_norm_bound(stack: np.ndarray) -> float:
    """Upper bound on the largest spectral norm of a stack of real or complex matrices."""
    W = np.asarray(stack)
    if not np.isfinite(W).all():
        return math.inf
    if not W.any():
        return 0.0
    if W.shape[1] < W.shape[2]:
        W = W.swapaxes(1, 2)
    exponent = int(np.frexp(np.abs(W).max())[1])
    W = W * 2.0**-exponent
    gram, error = _gram(W)
    square = float(np.linalg.eigvalsh(gram).max()) * (1 + 2.0**-50)
    slack = _lowered(square, gram, error)
    for attempt in range(TRIES):
        bound = math.sqrt(square + 2.0**attempt * slack) * (1 + 2.0**-50)
        if _dominates(bound, gram, error):
            return math.ldexp(above(bound, 1), exponent)
    return math.inf


def absolute_bound(matrix: np.ndarray) -> float:
    """Upper bound on the norm of |A|: √(largest row sum · largest column sum)."""
    sums = [float(np.abs(matrix).sum(axis=axis).max(initial=0.0)) for axis in (-1, -2)]
    return above(math.sqrt(sums[0]) * math.sqrt(sums[1]), sum(matrix.shape) + 4) if sums[0] else 0.0


def distance_bounds(rows: np.ndarray) -> np.ndarray:
    """Upper bounds on the distance between each two rows; 0 exactly where they are equal."""
    exact = np.asarray(rows, dtype=np.float64)
    return np.array([[length(first - second) for second in exact] for first in exact])


def _gram(W: np.ndarray) -> tuple[np.ndarray, float]:
    """WᴴW as computed, and a bound on the norm of its error."""
    _, m, n = W.shape
    magnitudes = np.abs(W)
    rows = magnitudes.swapaxes(1, 2) @ magnitudes.sum(axis=2, keepdims=True)
    cost = math.sqrt(2) * gamma(2 * m + 4) if np.iscomplexobj(W) else gamma(m + 2)
    error = above(float(rows.max()), m + n + 6) * cost * (1 + 2.0**-40)
    return W.conj().swapaxes(1, 2) @ W, above(error, 4)


def _lowered(square: float, gram: np.ndarray, error: float) -> float:
    """What must be taken from the diagonal of s²I - WᴴW, s² = `square`."""
    n = gram.shape[-1]
    alpha = math.sqrt(2) * gamma(2 * n + 8) if np.iscomplexobj(gram) else gamma(n + 3)
    diagonal = np.diagonal(gram, axis1=1, axis2=2).real
    trace = float(np.maximum(square - diagonal, 0).sum(axis=1).max())
    sure = above(alpha / (1 - alpha), 4) if alpha < 0.5 else math.inf
    return above(sure * trace + error + 8 * UNIT * square + n * n * 2.0**-1000, n + 12)


def _dominates(bound: float, gram: np.ndarray, error: float) -> bool:
    """Whether bound² I - WᴴW is proved to be positive semidefinite, for the whole stack."""
    n = gram.shape[-1]
    square = bound * bound * (1 - 2.0**-51)
    A = -gram
    places = np.arange(n)
    diagonal = gram[:, places, places].real
    A[:, places, places] = (square - diagonal) - _lowered(square, gram, error)
    try:
        factor = np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(factor).all())
