"""x - B φ(A x + b): the residual layers SLL and CPL, dense or convolutional.

φ works entry by entry with slopes in [0, 1], so φ(a) - φ(a′) = D (a - a′) with a diagonal
0 ≤ D ≤ I.  For any diagonal Λ ≥ 0 and s ≥ σ(Λ^½ A),

    I - B D A = (I - Aᵀ Λ D A) - (B - Aᵀ Λ) D A,    0 ≤ Aᵀ Λ D A ≤ Aᵀ Λ A ≤ s² I,

so distances grow by max(1, s² - 1) + ‖B - Aᵀ Λ‖ σ(A) at most.  A and B are held as one array a
neuron: rows of A and columns of B, or kernels.  √λ is cut to 29 bits, so that √λ A is exact.

Source: A. Araujo et al., "A Unified Algebraic Perspective on Lipschitz Neural Networks", ICLR
2023, arXiv:2303.03169; L. Meunier et al., "A Dynamical System Perspective for Lipschitz Neural
Networks", ICML 2022, arXiv:2110.12690.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.audit.arithmetic import above, length
from models.audit.groups.wiring import Wiring
from models.audit.norms import norm_bound
from models.audit.step import Step, grouped
from models.audit.torus import absolute_convolution, convolution_bound

BITS = 29
MODERATE = 2.0**200
CLOSE = 1e-2
SMOOTH = ("Clip", "Relu", "Sigmoid", "Softplus", "Tanh")
LONGEST = 12
"""Steps on a branch."""


@dataclass(frozen=True)
class Pair:
    """A and B, neurons first, and how norms of such arrays are bounded."""

    A: np.ndarray
    B: np.ndarray
    axis: int
    norm: Callable[[np.ndarray], float]
    absolute: Callable[[np.ndarray], float]


def residual(wiring: Wiring, step: Step) -> Step | None:
    """The group that ends in the sum of x and its branch."""
    signs = list(step.facts.get("signs", ()))
    if len(signs) != 2 or len(step.operands) != 2:
        return None
    for source, end in (step.operands, step.operands[::-1]):
        parts = [part for part in _branch(wiring, source, end) if "shift" not in part.facts]
        if len(parts) < 3 or not _has_slopes_to_one(parts[1]):
            continue
        pair = _pair(parts[0], [part for part in parts[2:] if "scale" not in part.facts])
        factors = _factors(parts[2:], pair) if pair is not None else None
        if pair is None or factors is None:
            continue
        B = _by_neuron(-signs[0] * signs[1] * factors, pair.B)
        roots = _roots(pair.A, B)
        lost = (len(parts) + 4) * 2.0**-52
        rest, magnitudes = _difference(pair.A, B, roots)
        if not np.linalg.norm(rest) <= CLOSE * np.linalg.norm(B):
            continue
        return grouped(
            "x - B φ(A x + b)",
            source,
            wiring.between(source, step.result),
            prove=_proof(pair, roots, np.abs(rest) + lost * magnitudes, parts[0]),
            walked=True,
        )
    return None


def _proof(pair: Pair, roots: np.ndarray, rest: np.ndarray, first: Step) -> Callable[[], float]:
    def prove() -> float:
        s = pair.norm(_by_neuron(roots, pair.A))
        contraction = max(1.0, above(s * s, 2) - 1)
        return above(contraction + above(pair.absolute(rest) * first.factor, 4), 2)

    return prove


def _branch(wiring: Wiring, source: str, end: str) -> list[Step]:
    """Steps with one operand each from the source to the branch's end; none if it is no branch."""
    branch: list[Step] = []
    while end != source:
        step = wiring.before(end)
        if step is None or len(step.operands) != 1 or len(branch) == LONGEST:
            return []
        branch.append(step)
        end = step.operands[0]
    return branch[::-1]


def _has_slopes_to_one(step: Step) -> bool:
    if "slope" in step.facts:
        return bool(step.facts["slope"].min() >= 0 and step.facts["slope"].max() <= 1)
    return step.kind in SMOOTH or "clips" in step.facts


def _pair(first: Step, linear: list[Step]) -> Pair | None:
    """Matrices there and back, or a convolution and a transposed one with the same windows."""
    if len(linear) != 1:
        return None
    one, other = first.facts, linear[0].facts
    if "rows" in one and "rows" in other and one["plain"]:
        A, B = one["rows"], other["rows"].T
        return Pair(A, B, -1, norm_bound, length) if A.shape == B.shape else None
    if (first.kind, linear[0].kind) != ("Conv", "ConvTranspose"):
        return None
    windows, by_group = one["windows"], one["kernel"].shape
    if windows != other["windows"] or other["kernel"].shape != by_group:
        return None
    A, B = (each["kernel"].reshape(-1, *by_group[2:]) for each in (one, other))
    return Pair(
        A,
        B,
        -1 - len(windows.sides),
        lambda kernel: convolution_bound(kernel.reshape(by_group), windows),
        lambda kernel: absolute_convolution(kernel.reshape(by_group), windows),
    )


def _factors(after: list[Step], pair: Pair) -> np.ndarray | None:
    """What scales B, a neuron each; None where anything else is scaled."""
    factors, behind = np.ones(len(pair.A)), False
    for step in after:
        behind |= "scale" not in step.facts
        if "scale" not in step.facts:
            continue
        scale = step.facts["scale"]
        if scale.size > 1 and (
            behind or scale.ndim < -pair.axis or scale.shape[pair.axis] != scale.size
        ):
            return None
        with np.errstate(over="ignore"):
            flat = scale.reshape(-1)
            factors = factors / flat if step.facts["divides"] else factors * flat
    return factors if np.isfinite(factors).all() else None


def _roots(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """√λ with the λ of each neuron that brings Aᵀ λ closest to B; 0 where it is not moderate."""
    rows, columns = A.reshape(len(A), -1), B.reshape(len(A), -1)
    with np.errstate(all="ignore"):
        closest = (rows * columns).sum(axis=1) / np.square(rows).sum(axis=1)
        moderate = (closest > 1 / MODERATE) & (closest < MODERATE)
    fraction, exponent = np.frexp(np.sqrt(np.where(moderate, closest, 0.0)))
    return np.asarray(np.ldexp(np.rint(np.ldexp(fraction, BITS)), exponent - BITS))


def _difference(A: np.ndarray, B: np.ndarray, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """B - Aᵀ Λ as computed, and what its roundings are relative to."""
    target = _by_neuron(roots, _by_neuron(roots, A))
    return B - target, np.abs(B) + np.abs(target)


def _by_neuron(factors: np.ndarray, array: np.ndarray) -> np.ndarray:
    return np.asarray(factors.reshape(-1, *[1] * (array.ndim - 1)) * array)
