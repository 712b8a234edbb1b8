"""The numbers that a certificate rests on: one table of class pairs and its rounding.

A program ends in a linear head W on features h.  The gap between logits i and j moves by at most
L_ij ‖δ‖ with L_ij = ‖w_i - w_j‖ ℓ(h); where there is no such head, by √2 ℓ(logits) ‖δ‖.  A gap
that was computed is within A_ij + B_ij s of the exact one, s at least the input's norm.

Source: Leino, Wang and Fredrikson, "Globally-Robust Neural Networks", ICML 2021,
arXiv:2102.08452; the rounding is a forward error analysis after Higham (see `upward`).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from models.proof.growth import Growth
from models.proof.lipschitz import Rounding, Walk, float64_rounding, walk
from models.proof.norms.distances import pair_distance_bounds
from models.proof.operators.affine import Dense
from models.proof.program import Program
from models.proof.upward import (
    FLOAT32,
    FLOAT64,
    Precision,
    check_arithmetic,
    norm_bounds,
    up,
    up_array,
    up_products,
)

Pairs = Float[np.ndarray, "classes classes"]


@dataclass(frozen=True)
class GapError:
    """A + B s: how far a computed gap may be from the exact one, class by class."""

    constant: Pairs
    slope: Pairs


@dataclass(frozen=True)
class Bounds:
    """All that was proved of a program.

    Attributes:
        lipschitz_bound: of the logits, in logits per unit of input.
        feature_bound: of what the head reads; of the logits where there is no head.
        pair_bounds: L_ij, in logits per unit of input; 0 exactly where two rows are equal.
        float64: rounding of our own evaluation.
        float32: rounding of a float32 runtime; None where it is not covered.
        refused_float32: why not.
        operators: one row an operator, for the report.
        input_size: entries of one example.
        program_sha256: hash of the program.
        assumptions: sentences about float64 functions that the bounds rest on without proof.
    """

    lipschitz_bound: float
    feature_bound: float
    pair_bounds: Pairs
    float64: GapError
    float32: GapError | None
    refused_float32: str | None
    operators: tuple[dict[str, object], ...]
    input_size: int
    program_sha256: str
    assumptions: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As numbers and lists; float64 numbers come back to the bit."""
        return {
            "lipschitz_bound": self.lipschitz_bound,
            "feature_bound": self.feature_bound,
            "pair_bounds": self.pair_bounds.tolist(),
            "float64": _error_to_json(self.float64),
            "float32": None if self.float32 is None else _error_to_json(self.float32),
            "refused_float32": self.refused_float32,
            "operators": list(self.operators),
            "input_size": self.input_size,
            "program_sha256": self.program_sha256,
            "assumptions": list(self.assumptions),
        }

    @classmethod
    def from_json(cls, stored: dict) -> "Bounds":
        """The same bounds, from what `to_json` gave."""
        return cls(
            **{
                **stored,
                "pair_bounds": np.array(stored["pair_bounds"]),
                "float64": _error_from_json(stored["float64"]),
                "float32": stored["float32"] and _error_from_json(stored["float32"]),
                "operators": tuple(stored["operators"]),
                "assumptions": tuple(stored.get("assumptions", ())),
            }
        )


def prove(program: Program) -> Bounds:
    """Bound a program: its class pairs, and the rounding of two precisions.

    Raises:
        ModelError: If a bound overflows.
        CertifyError: If this machine's arithmetic, or a decomposition, fails its own check.
    """
    return bounds_of(walk(program))


def bounds_of(found: Walk) -> Bounds:
    """What a walk has proved.

    Raises:
        CertifyError: If this machine's arithmetic fails its check.
    """
    check_arithmetic()
    program, last = found.program, found.steps[-1]
    feature_bound = last.lipschitz_bound
    if program.head is not None:
        feature_bound = found.lipschitz_bounds[program.head.operands[0]]
    float32, refused = _float32_error(found)
    return Bounds(
        lipschitz_bound=last.lipschitz_bound,
        feature_bound=feature_bound,
        pair_bounds=_pair_bounds(program, feature_bound),
        float64=_gap_error(found, float64_rounding(found), FLOAT64),
        float32=float32,
        refused_float32=refused,
        operators=tuple(
            {
                "name": step.name,
                "operator": step.kind,
                "shape": "×".join(str(side) for side in step.shape),
                "method": step.stretch.method,
                "factor": step.stretch.factor,
                "bound": step.lipschitz_bound,
            }
            for step in found.steps
        ),
        input_size=program.input_size,
        program_sha256=program.sha256,
        assumptions=tuple(
            dict.fromkeys(
                step.stretch.assumption for step in found.steps if step.stretch.assumption
            )
        ),
    )


def _float32_error(found: Walk) -> tuple[GapError | None, str | None]:
    """How far a float32 runtime's gaps may be from the exact ones, or why none is covered."""
    refused = _refused_float32(found)
    if refused is not None:
        return None, refused
    rounding = found.rounding(FLOAT32, cast=True)
    if rounding.overflows:
        return None, "float32 values may overflow for some image in [0, 1]"
    return _gap_error(found, rounding, FLOAT32), None


def _refused_float32(found: Walk) -> str | None:
    """Which operator leaves float32 runtimes uncovered; None where none does."""
    rounded = [kind for kind in found.program.ending if kind != "ArgMax"]
    if rounded:
        return f"{rounded[0]} behind the logits may round two classes to a tie"
    for step in found.steps:
        if step.stretch.refused_float32:
            return f"{step.name}: {step.stretch.refused_float32}"
        if step.stretch.roundings * FLOAT32.unit > 0.5:
            return f"{step.name}: float32 sums of so many terms may lose every digit"
    return None


def _pair_bounds(program: Program, feature_bound: float) -> Pairs:
    """L_ij of every two classes; 0 on the diagonal and where two rows are equal."""
    if program.head is None:
        pairs = np.full((program.classes, program.classes), up(math.sqrt(2) * feature_bound, 2))
        np.fill_diagonal(pairs, 0.0)
        return pairs
    distances = pair_distance_bounds(program.head.rows)
    return np.where(distances > 0, up_array(distances * feature_bound, 1), 0.0)


def _gap_error(found: Walk, rounding: Rounding, precision: Precision) -> GapError:
    """E_ij: how far computed gaps may be from the exact ones.

    With a head: (‖w_i - w_j‖ + κ S_ij) D(h) + κ (S_ij v(h) + |b_i| + |b_j|), and underflow.
    """
    head = found.program.head
    if head is None:
        classes = found.program.classes
        error = rounding.errors[found.steps[-1].result].times(up(math.sqrt(2), 1))
        return GapError(np.full((classes,) * 2, error.a), np.full((classes,) * 2, error.b))
    features = head.operands[0]
    error, norm = rounding.errors[features], rounding.norms[features]
    cost = precision.gamma(head.roundings)
    flushed = norm.plus(error, Growth(up(1 + head.weight.largest, 1), 0.0)).times(
        up(16 * head.terms * precision.smallest, 3)
    )
    together, bias = _head_pairs(head)
    carried = up_array(pair_distance_bounds(head.rows) + up_products(cost, together), 1)

    def gaps(error: float, norm: float, bias: Pairs | float, flushed: float) -> Pairs:
        own = up_products(cost, up_array(up_products(norm, together) + bias, 1))
        gap = up_array(up_products(error, carried) + own + flushed, 2)
        np.fill_diagonal(gap, 0.0)
        return gap

    return GapError(gaps(error.a, norm.a, bias, flushed.a), gaps(error.b, norm.b, 0.0, flushed.b))


def _head_pairs(head: Dense) -> tuple[Pairs, Pairs]:
    """S_ij = ‖|w_i| + |w_j|‖ and |b_i| + |b_j|, rounded up."""
    rows, shift = np.abs(head.rows), np.abs(head.shift)
    together = np.stack([norm_bounds(row + rows) for row in rows])
    return together, up_array(shift[:, None] + shift, 1)


def _error_to_json(error: GapError) -> dict[str, object]:
    return {"constant": error.constant.tolist(), "slope": error.slope.tolist()}


def _error_from_json(stored: dict) -> GapError:
    return GapError(np.array(stored["constant"]), np.array(stored["slope"]))
