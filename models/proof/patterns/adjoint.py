"""Two linear operators where the second is the adjoint of the first, up to a factor a neuron.

Both are held as one array a neuron: the row of A, and the column of B, of a dense pair; the
kernels of a convolution and of the one that B is the adjoint of.  Neurons come first.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from models.proof.norms.matrix import matrix_norm_bound
from models.proof.norms.torus import absolute_kernel_bound, convolution_norm_bound
from models.proof.operators.affine import Dense
from models.proof.operators.convolution import Convolution, TransposedConvolution
from models.proof.operators.operator import Operator
from models.proof.upward import norm_bound, up, up_product, up_sum

SIGNIFICANT = 29
"""Bits of √λ: times a float32 the product is exact in float64."""
MODERATE = 2.0**200
"""λ between it and its inverse; far from where float64 ends."""


@dataclass(frozen=True)
class LinearPair:
    """A, and the B that is meant to be Aᵀ Λ.

    Attributes:
        result: the tensor that A makes.
        axis: of the neurons in it, from the end.
        forward: A, float32 values.
        backward: adjoint of B, float64, by the neurons of A.
        roundings: behind an entry of `backward`.
        norm: upper bound on the operator norm of such an array.
        absolute: upper bound on the operator norm with absolute values; it grows with each.
    """

    result: str
    axis: int
    forward: np.ndarray
    backward: np.ndarray
    roundings: int
    norm: Callable[[np.ndarray], float]
    absolute: Callable[[np.ndarray], float]

    def scaled(self, factors: np.ndarray, *, roundings: int) -> "LinearPair":
        """The pair with a B whose neurons were multiplied by factors before."""
        scaled = _by_neuron(factors, self.backward)
        return replace(self, backward=scaled, roundings=self.roundings + roundings)

    def roots(self) -> np.ndarray:
        """√λ of each neuron, λ = ⟨B, A⟩ / ‖A‖²; 0 where that is not a moderate positive number."""
        A = self.forward.reshape(len(self.forward), -1).astype(np.float64)
        B = self.backward.reshape(len(A), -1)
        with np.errstate(all="ignore"):
            squares = (A * B).sum(axis=1) / np.square(A).sum(axis=1)
            sound = (squares > 1 / MODERATE) & (squares < MODERATE)
        fraction, exponent = np.frexp(np.sqrt(np.where(sound, squares, 0.0)))
        whole = np.rint(np.ldexp(fraction, SIGNIFICANT))
        return np.asarray(np.ldexp(whole, exponent - SIGNIFICANT))

    def is_close(self, tolerance: float) -> bool:
        """Whether ‖B - Aᵀ Λ‖ is at most the tolerance times ‖B‖, both Frobenius norms."""
        difference, _ = self._difference(self.roots())
        return bool(np.linalg.norm(difference) <= tolerance * np.linalg.norm(self.backward))

    def factor(self, norm_of_A: float) -> float:
        """Upper bound on the norms of I - B D A, for all diagonal 0 ≤ D ≤ I."""
        roots = self.roots()
        s = self.norm(_by_neuron(roots, self.forward))
        contraction = max(1.0, up(up_product(s, s) - 1, 1) if s > 1 else 1.0)
        difference, magnitudes = self._difference(roots)
        lost = (self.roundings + 3) * 2.0**-52
        rest = up(self.absolute(np.abs(difference) + lost * magnitudes), 4)
        return up_sum((contraction, up_product(rest, norm_of_A)))

    def _difference(self, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """B - Aᵀ Λ as computed, and what its rounding is relative to."""
        target = _by_neuron(roots, _by_neuron(roots, self.forward))
        return self.backward - target, np.abs(self.backward) + np.abs(target)


def linear_pair(first: Operator, second: Operator) -> LinearPair | None:
    """Two matrices on the last axis, or a convolution and one transposed with the same windows.

    None where the two lead elsewhere than there and back.
    """
    if isinstance(first, Dense) and isinstance(second, Dense):
        A, B = first.weight.array, second.rows.T
        if first.alpha == 1 and A.shape == B.shape:
            return LinearPair(first.result, -1, A, B, 0, matrix_norm_bound, norm_bound)
    if isinstance(first, Convolution) and isinstance(second, TransposedConvolution):
        A, B = first.kernel.array, second.kernel.array.astype(np.float64)
        if (first.axes, first.groups, A.shape) == (second.axes, second.groups, B.shape):
            by_group, axes = first.by_group.shape, first.axes
            return LinearPair(
                first.result,
                -1 - len(axes),
                A,
                B,
                0,
                lambda kernel: convolution_norm_bound(kernel.reshape(by_group), axes),
                lambda kernel: absolute_kernel_bound(kernel.reshape(by_group), axes),
            )
    return None


def _by_neuron(factors: np.ndarray, array: np.ndarray) -> np.ndarray:
    """An array with a factor to each neuron."""
    return factors.reshape(-1, *[1] * (array.ndim - 1)) * array.astype(np.float64)
