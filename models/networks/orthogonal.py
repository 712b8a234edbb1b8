"""Orthogonal matrices: drift a little, be pulled back at almost no cost, end exactly.

An optimiser step moves a matrix W off the orthogonal ones.  A Newton-Schulz step pulls every
singular value σ towards 1 by σ ← 1.5 σ - 0.5 σ³, with two matrix products and no decomposition.
It needs σ < √3: beyond, a direction turns round or is lost, and from √5 on it runs away.  At the
end the polar factor, the nearest orthogonal matrix, removes the rest.

A matrix that is not square is semi-orthogonal: its longer side has orthonormal vectors.  Between
two projections it is not 1-Lipschitz, so nothing is evaluated there.

Source: Björck and Bowie, "An Iterative Algorithm for Computing the Best Estimate of an Orthogonal
Matrix", SIAM Journal on Numerical Analysis 8(2), 1971.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import CertifyError


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
