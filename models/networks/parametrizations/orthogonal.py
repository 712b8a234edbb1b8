"""Semi-orthogonal matrices as functions of free ones, each differentiable.

A tall matrix gets orthonormal columns, a wide one orthonormal rows: the wide case is the tall one
transposed.  All take stacks of matrices, in any floating type; the defect is some units in the
last place of that type times the side.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from models.networks.parametrizations.bounds import gram_bound

Matrices = Inexact[Tensor, "*stack out in"]
STEPS = 25  # a singular value of 1e-3 comes to 1 within 1e-7


def bjorck(W: Matrices, *, steps: int = STEPS) -> Matrices:
    """W scaled to norm 1 at most, then σ ← 1.5 σ - 0.5 σ³ on every singular value.

    From σ in (0, 1] the steps rise to 1 and never pass it, so that the result is 1-Lipschitz
    however few they are.

    Source: Anil, Lucas and Grosse, "Sorting Out Lipschitz Function Approximation", ICML 2019,
    arXiv:1811.05381.
    """
    W = W / gram_bound(W)[..., None, None]
    for _ in range(steps):
        gram = W.mT @ W if W.shape[-2] >= W.shape[-1] else W @ W.mT
        W = 1.5 * W - 0.5 * (W @ gram if W.shape[-2] >= W.shape[-1] else gram @ W)
    return W


def cayley(W: Matrices) -> Matrices:
    """(I + A)⁻¹ (I - A) of a skew A, and what lies below it where W is tall.

    With W = [U; V], A = U - Uᵀ + VᵀV has a positive semidefinite symmetric part, so I + A can be
    inverted, and [(I + A)⁻¹ (I - A); -2 V (I + A)⁻¹] has orthonormal columns.

    Source: Trockman and Kolter, "Orthogonalizing Convolutional Layers with the Cayley Transform",
    ICLR 2021, arXiv:2104.07167.
    """
    return _tall(_tall_cayley, W)


def exponential(W: Matrices) -> Matrices:
    """The first columns of exp(S - Sᵀ), S being W filled up with zeros to a square.

    Source: Lezcano-Casado and Martínez-Rubio, "Cheap Orthogonal Constraints in Neural Networks",
    ICML 2019, arXiv:1901.08428.
    """
    return _tall(_tall_exponential, W)


def qr(W: Matrices) -> Matrices:
    """The Q of W = QR with a positive diagonal of R, which makes it unique and continuous."""
    return _tall(_tall_qr, W)


def cholesky(W: Matrices) -> Matrices:
    """L⁻¹ W with L Lᵀ = W Wᵀ for a wide W.

    Source: Hu, Leino, Wang and Fredrikson, "A Recipe for Improved Certifiable Robustness",
    ICLR 2024, arXiv:2310.02513.
    """
    return _tall(_tall_cholesky, W)


def block_reflector(V: Float[Tensor, "*stack side rank"]) -> Float[Tensor, "*stack side side"]:
    """I - 2 V (VᵀV)⁻¹ Vᵀ: the reflection that turns the span of V's columns round.

    Symmetric and orthogonal; the rank decides how many eigenvalues are -1.

    Source: Lai et al., "Enhancing Certified Robustness via Block Reflector Orthogonal Layers and
    Logit Annealing Loss", ICML 2025, arXiv:2505.15174.
    """
    basis = _tall_cholesky(V)
    return torch.eye(V.shape[-2], dtype=V.dtype, device=V.device) - 2 * basis @ basis.mT


def projector(V: Float[Tensor, "*stack side rank"]) -> Float[Tensor, "*stack side side"]:
    """V (VᵀV)⁻¹ Vᵀ: the orthogonal projector on the span of V's columns."""
    basis = _tall_cholesky(V)
    return basis @ basis.mT


def _tall(function: Callable[[Tensor], Tensor], W: Matrices) -> Matrices:
    """A function of tall matrices on a tall or a wide one."""
    return function(W) if W.shape[-2] >= W.shape[-1] else function(W.mH).mH


def _tall_cayley(W: Matrices) -> Matrices:
    n = W.shape[-1]
    U, V = W[..., :n, :], W[..., n:, :]
    unit = torch.eye(n, dtype=W.dtype, device=W.device)
    A = U - U.mH + V.mH @ V
    inverse = torch.linalg.inv(unit + A)
    return torch.cat((inverse @ (unit - A), -2 * V @ inverse), dim=-2)


def _tall_exponential(W: Matrices) -> Matrices:
    m, n = W.shape[-2:]
    square = torch.nn.functional.pad(W, (0, m - n))
    turned: Tensor = torch.linalg.matrix_exp(square - square.mT)
    return turned[..., :n]


def _tall_qr(W: Matrices) -> Matrices:
    Q, R = torch.linalg.qr(W)
    signs = torch.where(R.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(W.dtype)
    unique: Tensor = Q * signs[..., None, :]
    return unique


def _tall_cholesky(W: Matrices) -> Matrices:
    """W L⁻ᵀ with L Lᵀ = WᵀW + τ I, twice, as the first time τ is relative to ‖W‖²."""
    unit = torch.eye(W.shape[-1], dtype=W.dtype, device=W.device)
    numbers = torch.finfo(W.dtype)
    for _ in range(2):
        gram = W.mT @ W
        largest = gram.diagonal(dim1=-2, dim2=-1).amax(dim=-1)
        tiny = 2 * numbers.eps * W.shape[-1] ** 0.5 * largest + numbers.tiny
        L = torch.linalg.cholesky(gram + tiny[..., None, None] * unit)
        rows: Tensor = torch.linalg.solve_triangular(L, W.mT, upper=False)
        W = rows.mT
    return W
