"""Logits in float64 by numpy alone, each with a bound on its distance from the exact ones.

A running error analysis: beside every tensor goes, example by example, a bound D on the Euclidean
distance of the computed from the exact values.  D(y) = factor · D(x) + what this step rounded,
where the latter is read off the computed values.  Every D is raised by 2⁻²⁶, which pays for the
roundings of D itself: sums of fewer than 2²⁵ terms.

Source: Higham, "Accuracy and Stability of Numerical Algorithms", SIAM 2002, section 3.3.
"""

from collections.abc import Callable, Sequence

import numpy as np

from models.audit.arithmetic import gamma
from models.audit.graph import DENSE, Graph, Step
from models.audit.rules import dense_weight

RAISED = 1 + 2.0**-26
EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Relu": lambda x: np.maximum(x, 0),
    "Abs": np.abs,
    "Neg": np.negative,
}
FLUSHED = 2.0**-900
"""More than underflow can add to any tensor here."""


def evaluate(
    graph: Graph, images: np.ndarray, factors: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of float32 images, and the bound D of each example.

    Raises:
        VerificationError: If a step does not fit its operands.
    """
    values = {graph.source: images.astype(np.float64)}
    errors: dict[str, np.ndarray] = {graph.source: np.zeros(len(images))}
    for step, factor in zip(graph.steps, factors, strict=True):
        operands = [values[name] for name in step.operands]
        carried = np.sum([errors[name] for name in step.operands], axis=0)
        try:
            result, rounded = _apply(step, operands)
        except (ValueError, IndexError) as fault:
            raise step.refuse(f"a form that does not fit its operands ({fault})") from None
        if len(result) != len(images):
            raise step.refuse("a step that changes the batch")
        values[step.result] = result
        errors[step.result] = np.asarray((factor * carried + rounded) * RAISED + FLUSHED)
    return values["logits"], errors["logits"]


def _apply(step: Step, operands: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray | float]:
    """The result, and the norm of what this step itself rounded."""
    x = operands[0]
    if step.kind in DENSE:
        return _dense(step, x)
    if step.kind in ("Reshape", "Flatten", "Transpose", "Identity", "Split"):
        return _moved(step, x), 0.0
    if step.kind == "Concat":
        axis = step.attributes["axis"]
        if axis % x.ndim == 0:
            raise step.refuse("a join along the batch")
        return np.concatenate(operands, axis=axis), 0.0
    if step.kind in EXACT:
        return EXACT[step.kind](x), 0.0
    if step.kind in ("LeakyRelu", "PRelu"):
        alpha = np.array(step.attributes.get("alpha", 0.01), np.float32).astype(np.float64)
        below = alpha if step.kind == "LeakyRelu" else _constant(step, x)
        y = np.where(x < 0, below * x, x)
        return y, 2.0**-52 * _norms(y)
    return _arithmetic(step, operands)


def _arithmetic(step: Step, operands: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Add, Sub, Mul, Div and Sum, of branches or with a constant, in the file's order."""
    x = operands[0]
    if any(other.shape != x.shape for other in operands):
        raise step.refuse("branches of several shapes")
    if step.constants:
        constant = _constant(step, x)
        sides = [constant, x] if 0 in step.constants else [x, constant]
    else:
        sides = operands
    y = sides[0]
    sizes = _norms(np.broadcast_to(y, x.shape))
    for side in sides[1:]:
        y = {"Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}.get(step.kind, np.add)(
            y, side
        )
        sizes = sizes + _norms(y)
    return y, 2.0**-52 * sizes


def _dense(step: Step, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    W = dense_weight(step).astype(np.float64)
    bias = step.constants.get(2, np.zeros(1, np.float32)).astype(np.float64)
    y = x @ W.T + bias
    if y.shape[-1] != len(W) or y.ndim != x.ndim or (step.kind == "Gemm" and x.ndim != 2):
        raise step.refuse("a product that does not fit")
    if bias.size > 1 and bias.shape[:-1] not in ((), (1,)):
        raise step.refuse("a bias with a batch")
    magnitudes = np.abs(x) @ np.abs(W).T + np.abs(bias)
    return y, gamma(W.shape[1] + 2) * _norms(magnitudes)


def _moved(step: Step, x: np.ndarray) -> np.ndarray:
    values, batch = step.attributes, len(x)
    if step.kind == "Flatten":
        if values.get("axis", 1) != 1:
            raise step.refuse("an axis other than 1")
        return x.reshape(batch, -1)
    if step.kind == "Reshape":
        first, *rest = (int(side) for side in step.constants[1])
        literal = bool(values.get("allowzero", 0))  # then a 0 is a side without entries
        if first not in (0, -1) or (literal and 0 in (first, *rest)):
            raise step.refuse("a target whose first side is not the batch")
        sides = [x.shape[at] if side == 0 else side for at, side in enumerate(rest, start=1)]
        return x.reshape(batch, *sides)
    if step.kind == "Transpose":
        order = values.get("perm", list(range(x.ndim))[::-1])
        if order[0] != 0:
            raise step.refuse("an order that moves the batch")
        return x.transpose(order)
    if step.kind == "Split":
        axis = values.get("axis", 0) % x.ndim
        if axis == 0 or 1 not in step.constants:
            raise step.refuse("a split along the batch, or without sizes")
        ends = np.cumsum(step.constants[1])
        if ends[-1] != x.shape[axis]:
            raise step.refuse("sizes that do not fill the axis")
        return np.split(x, ends[:-1], axis=axis)[step.part]
    return x


def _constant(step: Step, x: np.ndarray) -> np.ndarray:
    """The one constant of a step, which must neither enlarge x nor hold a batch."""
    (values,) = step.constants.values()
    if np.broadcast_shapes(values.shape, x.shape) != x.shape or (
        values.ndim == x.ndim and values.shape[0] != 1
    ):
        raise step.refuse("a constant that enlarges its operand")
    return values.astype(np.float64)


def _norms(values: np.ndarray) -> np.ndarray:
    """Norm of each example."""
    norms: np.ndarray = np.sqrt(np.square(values.reshape(len(values), -1)).sum(axis=1))
    return norms
