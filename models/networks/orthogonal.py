"""Matrices kept orthogonal at almost no cost: drift a little, be pulled back, end exactly.

An optimiser step moves a matrix W off the orthogonal ones.  A Newton-Schulz step pulls every
singular value σ towards 1 by σ ← 1.5 σ - 0.5 σ³, with two matrix products and no decomposition.
It needs σ < √3: beyond, a direction turns round or is lost, and from √5 on it runs away.  At the
end the polar factor, the nearest orthogonal matrix, removes the rest.

A matrix that is not square is semi-orthogonal: its longer side has orthonormal vectors.  Between
two projections it is not 1-Lipschitz, so nothing is evaluated there.

Source: Björck and Bowie, "An Iterative Algorithm for Computing the Best Estimate of an Orthogonal
Matrix", SIAM Journal on Numerical Analysis 8(2), 1971.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import CertifyError

EAGER_DRIFT = 1.0  # from here on one step is not enough; below, every σ < √2
LONGEST_WAY = 30  # steps; each multiplies a small singular value by 1.5
LARGEST_NORM = math.sqrt(3)
ADVICE = "lower train.learning_rate, or lower train.project_every"


def newton_schulz_step(
    W: Float[Tensor, "out in"],
) -> tuple[Float[Tensor, "out in"], Float[Tensor, ""]]:
    """One step towards the polar factor of a matrix.

    Returns:
        The matrix after the step, and the drift that it had before it, as `drift` measures it:
        the Gram matrix is there anyway.
    """
    excess = _gram(W).neg_()
    excess.diagonal().add_(1)  # I - WᵀW: the step is W (I + ½ (I - WᵀW))
    step = W @ excess if W.shape[0] >= W.shape[1] else excess @ W
    return torch.add(W, step, alpha=0.5), torch.linalg.matrix_norm(excess)


def pulled_back(W: Float[Tensor, "out in"], *, place: str) -> tuple[Float[Tensor, "out in"], float]:
    """Newton-Schulz steps until the drift is small; one, where training goes well.

    Args:
        W: a matrix that some optimiser steps moved off the orthogonal ones.
        place: where training stands, for the error.

    Returns:
        The matrix after the steps, and the drift that it had before them.

    Raises:
        CertifyError: If an entry is not finite, or a singular value has left the reach of the
            steps, √3.
    """
    pulled, drifted = newton_schulz_step(W)
    before = float(drifted)
    if before < EAGER_DRIFT:
        return pulled, before
    _refuse_lost(W, place=place)
    for _ in range(LONGEST_WAY):
        pulled, drifted = newton_schulz_step(pulled)
        if drifted < EAGER_DRIFT / 2:
            return pulled, before
    raise CertifyError(f"{place}: a matrix lost rank between two projections; {ADVICE}")


def drift(W: Float[Tensor, "out in"]) -> Float[Tensor, ""]:
    """Frobenius norm of WᵀW - I, or of WWᵀ - I where W is wide: at least max |σ² - 1|."""
    excess = _gram(W)
    excess.diagonal().sub_(1)
    norm: Tensor = torch.linalg.matrix_norm(excess)
    return norm


def polar_factor(W: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
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


def next_interval(interval: int, *, drift: float, longest: int) -> int:
    """Steps to the next projection, from the drift that `interval` steps made.

    A run starts at 1, as Adam's first steps all point the same way.  Drift grows about as the
    interval does, so one step more is safe while the drift is small.
    """
    if drift >= EAGER_DRIFT:
        return max(1, interval // 2)
    return min(longest, interval + 1) if drift < EAGER_DRIFT / 2 else min(longest, interval)


def refuse_infinite(loss: float, *, place: str) -> None:
    """Stop a training run while the numbers still say what went wrong.

    Args:
        loss: the loss of the last step.
        place: where training stands, such as "epoch 3, step 120".

    Raises:
        CertifyError: If the loss is not finite.
    """
    if not math.isfinite(loss):
        raise CertifyError(f"{place}: the loss is {loss}, which is not finite; {ADVICE}")


def _refuse_lost(W: Float[Tensor, "out in"], *, place: str) -> None:
    exact = W.detach().to(device="cpu", dtype=torch.float64)
    if not bool(exact.isfinite().all()):
        raise CertifyError(f"{place}: a matrix has entries that are not finite; {ADVICE}")
    norm = float(torch.linalg.matrix_norm(exact, ord=2))
    if not norm < LARGEST_NORM:
        raise CertifyError(
            f"{place}: between two projections a matrix drifted to norm {norm:.3g}, from where "
            f"it does not come back to 1; accepted is below √3; {ADVICE}"
        )


def _gram(W: Float[Tensor, "out in"]) -> Float[Tensor, "short short"]:
    return W.T @ W if W.shape[0] >= W.shape[1] else W @ W.T
