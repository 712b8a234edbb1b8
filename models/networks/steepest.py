"""The steepest step of norm 1 for a matrix that should stay orthogonal.

Under the spectral norm the steepest step goes equally far along all directions of a slope, however
long it is along them: what many examples ask for and what few ask for get the same angle.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; along the
orthogonal matrices, Bernstein, "Modular Manifolds", Thinking Machines Lab, 2025, whose steps are
solved for where these project first.
"""

import torch
from jaxtyping import Float
from torch import Tensor

POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Coefficients of σ, σ³, σ⁵ by Jordan et al.: small singular values grow quickly, and none ends far
from 1."""
STEPS = 3
"""Of the polynomial: what is above a fortieth of the largest singular value comes near 1."""
TINY = 1e-30  # least sum of squares that is divided by; a shorter slope gets a shorter step
LEAST_SHARE = 1e-6  # below the largest σ² of any matrix whose σ² sum to 1; both stay normal numbers

Matrix = Float[Tensor, "*stack out in"]


def steepest_turn(W: Matrix, slope: Matrix) -> Matrix:
    """The direction of norm 1, about, in which a (semi-)orthogonal matrix goes up a slope best.

    A square matrix keeps its lengths along it to first order.  Any other nearly does, as the
    orthogonal factor of a tangent need not be one.
    """
    return orthogonalised(tangent(W, slope))


def tangent(W: Matrix, direction: Matrix) -> Matrix:
    """The part of a direction along which W stays orthogonal to first order: D - W sym(WᵀD).

    Source: Edelman, Arias and Smith, "The Geometry of Algorithms with Orthogonality Constraints",
    SIAM Journal on Matrix Analysis and Applications 20(2), 1998, section 2.2.
    """
    tall = W.shape[-2] >= W.shape[-1]
    inner = W.mT @ direction if tall else direction @ W.mT
    symmetric = inner + inner.mT
    return torch.sub(direction, W @ symmetric if tall else symmetric @ W, alpha=0.5)


def orthogonalised(direction: Matrix) -> Matrix:
    """A matrix, or each of a stack, with its larger singular values brought to 0.7 to 1.2.

    All work but the first and the last product is on the Gram matrix of the shorter side.

    Returns:
        A matrix of the same singular vectors; 0 for 0, NaN where an entry is not finite or is
        beyond the square root of what the numbers can hold.
    """
    tall = direction.shape[-2] >= direction.shape[-1]
    A = direction if tall else direction.mT
    gram = A.mT @ A
    scale = gram.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[..., None, None].clamp_min(TINY)
    gram = gram / scale
    square = gram @ gram
    largest = torch.linalg.matrix_norm(square, keepdim=True).sqrt().clamp_min(LEAST_SHARE)
    gram, scale = gram / largest, scale * largest
    factor = _factor(gram, square / largest**2)
    change = factor / scale.sqrt()
    for _ in range(STEPS - 1):
        gram = gram @ (factor @ factor)
        factor = _factor(gram, gram @ gram)
        change = change @ factor
    result: Tensor = A @ change
    return result if tall else result.mT


def _factor(
    gram: Float[Tensor, "*stack n n"], square: Float[Tensor, "*stack n n"]
) -> Float[Tensor, "*stack n n"]:
    """What the polynomial multiplies a matrix by, from its Gram matrix and the square of that."""
    first, third, fifth = POLYNOMIAL
    factor = torch.add(third * gram, square, alpha=fifth)
    factor.diagonal(dim1=-2, dim2=-1).add_(first)
    return factor
