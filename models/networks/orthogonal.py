"""Orthogonal matrices: drift a little, be pulled back at almost no cost, end exactly.

An optimiser step moves a matrix W off the orthogonal ones.  A Newton-Schulz step pulls every
singular value σ towards 1 by σ ← 1.5 σ - 0.5 σ³, with two matrix products and no decomposition.
It needs σ < √3: beyond, a direction turns round or is lost, and from √5 on it runs away.  At the
end the polar factor, the nearest orthogonal matrix, removes the rest.

What an optimiser adds is steep along few directions, as its steps point the same way for a while.
`straightening` sets the singular values of those to 1, however far they went, for a small share of
a Newton-Schulz step's work; so whole steps are needed seldom.

A matrix that is not square is semi-orthogonal: its longer side has orthonormal vectors.  Between
two projections it is not 1-Lipschitz, so nothing is evaluated there.

Source: Björck and Bowie, "An Iterative Algorithm for Computing the Best Estimate of an Orthogonal
Matrix", SIAM Journal on Numerical Analysis 8(2), 1971.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import CertifyError

TINY = 1e-12  # least σ² that is divided by; a direction that is lost stays as it is, about


def newton_schulz_step(
    W: Float[Tensor, "*stack out in"],
) -> tuple[Float[Tensor, "*stack out in"], Float[Tensor, ""]]:
    """One step towards the polar factor of a matrix, or of each of a stack.

    Returns:
        The matrix after the step, and the drift that it had before it, as `drift` measures it:
        the Gram matrix is there anyway.
    """
    excess = _gram(W).neg_()
    excess.diagonal(dim1=-2, dim2=-1).add_(1)  # I - WᵀW: the step is W (I + ½ (I - WᵀW))
    step = W @ excess if W.shape[-2] >= W.shape[-1] else excess @ W
    return torch.add(W, step, alpha=0.5), torch.linalg.matrix_norm(excess).amax()


def straightening(
    W: Float[Tensor, "out in"], directions: Float[Tensor, "short few"]
) -> tuple[Float[Tensor, "out few"], Float[Tensor, "in few"], Float[Tensor, "short few"], float]:
    """What to add to a matrix so that it keeps lengths where it stretches, or shrinks, most.

    The directions follow by one step of the subspace iteration on WᵀW - I, of WWᵀ - I where W is
    wide: from those of the last call they are found again.  On their span W becomes its own polar
    factor, so it may stretch there by any factor before.

    Args:
        W: of any shape.
        directions: orthonormal columns, as many as are to be followed.

    Returns:
        L and R, of which L Rᵀ is to be added; the directions, for the next call; and the largest
        σ² - 1 along them before, no more than that of W.

    Raises:
        CertifyError: If an entry is not finite, or too large to be squared.

    Source: the iteration with a Rayleigh-Ritz step is Rutishauser's, "Simultaneous Iteration
    Method for Symmetric Matrices", Numerische Mathematik 16, 1970.
    """
    tall = W.shape[0] >= W.shape[1]
    A = W if tall else W.mT
    followed = torch.linalg.qr(A.mT @ (A @ directions) - directions).Q
    images = A @ followed
    gram = images.mT @ images
    if not bool(gram.isfinite().all()):
        raise CertifyError("a matrix has entries that are not finite, or too large to be squared")
    squares, turns = torch.linalg.eigh(gram)
    followed = followed @ turns
    change = images @ (turns * (squares.clamp_min(TINY).rsqrt() - 1))
    left, right = (change, followed) if tall else (followed, change)
    return left, right, followed, float(squares[-1]) - 1


def drift(W: Float[Tensor, "*stack out in"]) -> Float[Tensor, ""]:
    """Frobenius norm of WᵀW - I, or of WWᵀ - I where W is wide: at least max |σ² - 1|.

    The largest of a stack.
    """
    excess = _gram(W)
    excess.diagonal(dim1=-2, dim2=-1).sub_(1)
    norms: Tensor = torch.linalg.matrix_norm(excess)
    return norms.amax()


def polar_factor(W: Float[Tensor, "*stack out in"]) -> Float[Tensor, "*stack out in"]:
    """The nearest semi-orthogonal matrix, in float64 and on the processor.

    Returns:
        UVᵀ of the singular value decomposition W = UΣVᵀ; some nearest one where W lacks rank.

    Raises:
        CertifyError: If an entry is not finite.

    Source: Higham, "Computing the Polar Decomposition", SIAM Journal on Scientific and
    Statistical Computing 7(4), 1986.
    """
    exact = W.detach().to(device="cpu", dtype=torch.float64)
    if not bool(exact.isfinite().all()):
        raise CertifyError("a matrix with entries that are not finite has no polar factor")
    U, _, Vh = torch.linalg.svd(exact, full_matrices=False)
    nearest: Tensor = U @ Vh
    return nearest


def random_orthogonal(
    rows: int, columns: int, *, generator: torch.Generator
) -> Float[Tensor, "rows columns"]:
    """A semi-orthogonal matrix in float32, drawn uniformly."""
    return polar_factor(
        torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    ).float()


def _gram(W: Float[Tensor, "*stack out in"]) -> Float[Tensor, "*stack short short"]:
    return W.mT @ W if W.shape[-2] >= W.shape[-1] else W @ W.mT
