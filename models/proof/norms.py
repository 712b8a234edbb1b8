"""Upper bounds on the operator norm of a matrix, never from power iteration.

For any square V whatever with ‖VᵀV - I‖∞ ≤ d < 1, σ(W)² ≤ ‖(WV)ᵀ(WV)‖∞ / (1 - d): W = (WV)V⁻¹,
‖V⁻¹‖² = 1/λ_min(VᵀV) ≤ 1/(1 - d), and ‖M‖₂ ≤ ‖M‖∞ for symmetric M.  With V the right factor of an
SVD, WV has orthogonal columns and the bound is tight to 1e-10; nothing about the SVD needs trust,
since a bad V makes the bound loose and not wrong.

Each product is charged |fl(XY) - XY| ≤ γ_{n+2} |X||Y| entrywise, in any order of summation.

Source: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", SIAM 2002, chapter 3;
S. M. Rump, "Verified bounds for singular values", BIT 51, 2011.
"""

import math

import numpy as np
from jaxtyping import Float

from models.errors import CertifyError
from models.proof.upward import FLOAT64, norm_bound, up, up_array, up_sum

Matrix = Float[np.ndarray, "rows columns"]


def matrix_norm_bound(matrix: Matrix) -> float:
    """Upper bound on the spectral norm of a real matrix.

    Args:
        matrix: finite float32 values (any dtype that holds them exactly in float64).

    Returns:
        The bound, in float64; exactly 0 only for a zero matrix.

    Raises:
        CertifyError: If an entry is not finite, or the decomposition fails its own check.
    """
    W = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(W).all():
        raise CertifyError("the norm of a matrix with NaN or infinite entries has no bound")
    if W.shape[0] < W.shape[1]:
        W = W.T
    if not W.any():
        return 0.0
    exponent = int(np.frexp(np.abs(W).max())[1])
    W = np.ldexp(W, -exponent)  # exact for float32 values: the largest entry is in [1/2, 1)
    _, singular_values, rows_of_V = np.linalg.svd(W, full_matrices=False)
    bound = _rotated_bound(W, rows_of_V.T)
    if not singular_values[0] <= bound * (1 + 1e-12):
        raise CertifyError(
            f"two ways to bound a norm disagree: {singular_values[0]} from the decomposition, "
            f"{bound} from its check"
        )
    return math.ldexp(bound, exponent)


def absolute_norm_bound(matrix: Matrix) -> float:
    """Upper bound on the spectral norm of the matrix of absolute values: √(‖A‖₁ ‖A‖∞)."""
    magnitudes = np.abs(np.asarray(matrix, dtype=np.float64))
    largest_column, largest_row = magnitudes.sum(axis=0).max(), magnitudes.sum(axis=1).max()
    if largest_row == 0:
        return 0.0
    return up(math.sqrt(largest_column) * math.sqrt(largest_row), sum(magnitudes.shape) + 4)


def pair_distance_bounds(rows: Matrix) -> Float[np.ndarray, "rows rows"]:
    """Upper bounds on the distance between each two rows; 0 only where they are equal."""
    exact = np.asarray(rows, dtype=np.float64)
    distances = np.zeros((len(exact), len(exact)))
    for first, row in enumerate(exact):
        for second in range(first):
            distances[first, second] = distances[second, first] = norm_bound(row - exact[second])
    return distances


def _rotated_bound(W: Matrix, V: Float[np.ndarray, "columns columns"]) -> float:
    """σ(W) from W V and the defect of V; both sides rounded up."""
    m, n = W.shape
    product_cost, gram_cost = _product_cost(n), _product_cost(m)
    one = np.ones(n)
    aW, aV = np.abs(W), np.abs(V)
    P = W @ V
    aP = np.abs(P)

    largest_row = (aW @ (aV @ one)).max()
    largest_column = (aV.T @ (aW.T @ np.ones(m))).max()
    product_error = up(math.sqrt(largest_row * largest_column), m + 2 * n + 8) * product_cost

    gram_rows = up_array(np.abs(P.T @ P).sum(axis=1), n + 6)
    gram_rows += up_array(aP.T @ (aP @ one), m + n + 4) * gram_cost
    rotated_norm = up(math.sqrt(gram_rows.max()), 6)

    defect_rows = up_array(np.abs(V.T @ V - np.eye(n)).sum(axis=1), n + 6)
    defect_rows += up_array(aV.T @ (aV @ one), 2 * n + 4) * product_cost
    defect = up(float(defect_rows.max()), 4)
    if not defect < 0.5:
        raise CertifyError(f"a rotation is {defect:.3g} from orthogonal; accepted is below 0.5")
    return up(up_sum((rotated_norm, product_error)) / math.sqrt(1 - defect), 12)


def _product_cost(inner: int) -> float:
    """Factor g with |fl(XY) - XY| ≤ g |X||Y| for an inner dimension."""
    return FLOAT64.gamma(inner + 2) * (1 + 2.0**-40)
