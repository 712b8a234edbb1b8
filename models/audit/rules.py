"""How far each operator stretches distances, by the audit's own count."""

import math

import numpy as np

from models.audit.arithmetic import above
from models.audit.graph import ACTIVATIONS, DENSE, JOINS, MOVES, SCALES, Graph, Step
from models.audit.norms import norm_bound


def dense_weight(step: Step) -> np.ndarray:
    """W of x ↦ x Wᵀ + b, outputs first."""
    values = step.attributes
    if 1 not in step.constants or 0 in step.constants or step.constants[1].ndim != 2:
        raise step.refuse("anything but an activation times a constant matrix")
    if values.get("alpha", 1.0) != 1 or values.get("beta", 1.0) != 1 or values.get("transA", 0):
        raise step.refuse("alpha, beta or transA")
    return step.constants[1] if values.get("transB", 0) else step.constants[1].T


def factor(step: Step) -> float:
    """Upper bound on the stretch of a step, per unit of what its operands moved together.

    Raises:
        VerificationError: If the form of the operator is not known here.
    """
    for values in step.constants.values():
        if values.dtype.kind == "f" and not (
            values.dtype == np.float32 and np.isfinite(values).all()
        ):
            raise step.refuse("a weight that is not finite float32")
    if step.kind in DENSE:
        return norm_bound(dense_weight(step))
    if step.kind in SCALES:
        return _scale(step)
    if step.kind in ACTIVATIONS:
        return max(1.0, slope(step))
    if step.kind in JOINS and step.constants:
        raise step.refuse("a constant among the branches")
    if step.kind in MOVES and len(step.operands) != 1:
        raise step.refuse("a move of several activations")
    return 1.0


def slope(step: Step) -> float:
    """Largest magnitude of the slope below zero, where the kind has one."""
    if step.kind == "LeakyRelu":
        return abs(float(np.float32(step.attributes.get("alpha", 0.01))))
    if step.kind == "PRelu":
        if set(step.constants) != {1}:
            raise step.refuse("a slope that is no constant")
        return float(np.abs(step.constants[1]).max())
    return 1.0


def stretches(graph: Graph) -> tuple[list[float], dict[str, float]]:
    """The factor of every step, and the Lipschitz bound of every tensor."""
    factors, bounds = [], {graph.source: 1.0}
    for step in graph.steps:
        factors.append(factor(step))
        moved = [bounds[name] for name in step.operands]
        together = _together(step, moved)
        bounds[step.result] = above(factors[-1] * together, 1) if factors[-1] else 0.0
    return factors, bounds


def _together(step: Step, moved: list[float]) -> float:
    if len(moved) == 1:
        return moved[0]
    if step.kind == "Concat":
        return above(math.hypot(*moved), len(moved) + 6)
    if step.kind in ("Add", "Sub", "Sum") and not step.constants:
        return above(sum(moved), len(moved))
    raise step.refuse(f"a step of {len(moved)} activations")


def _scale(step: Step) -> float:
    if len(step.constants) != 1 or (step.kind == "Div" and 1 not in step.constants):
        raise step.refuse("anything but an activation and a constant")
    (values,) = step.constants.values()
    magnitudes = np.abs(values.astype(np.float64))
    if step.kind == "Mul":
        return float(magnitudes.max())
    if not magnitudes.min() > 0:
        raise step.refuse("a divisor of 0")
    return above(1 / float(magnitudes.min()), 1)
