"""Operators that change each entry by itself, with constants beside it, and Softmax."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from models.audit.arithmetic import above
from models.audit.node import Node
from models.audit.step import Loss, Step

SMALLEST = 2.0**-126
KINKED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Relu": lambda x: np.maximum(x, 0),
    "Abs": np.abs,
    "Neg": np.negative,
}
KINKED_ENTRIES = {"Relu": ("between", (0.0, math.inf)), "Neg": ("times", (-1.0,))}


def kinked(node: Node) -> list[Step]:
    """Relu, Abs, Neg: no slope above 1."""
    facts = {"entry": KINKED_ENTRIES[node.kind]} if node.kind in KINKED_ENTRIES else {}
    exact = node.kind != "Relu"
    return [node.step(KINKED[node.kind], rounds=lambda: Loss(exact=exact), facts=facts)]


def sloped(node: Node) -> list[Step]:
    """LeakyRelu and PRelu: the slope above zero is 1, the other one stored."""
    if node.kind == "LeakyRelu":
        slope = np.array(np.float32(node.attributes.get("alpha", 0.01)), dtype=np.float64)
    else:
        slope = node.weight(1)
        if node.enlarged(node.activation(), [slope.shape], at=1):
            raise node.refuse("a slope that enlarges its operand")
    if not np.isfinite(slope).all():
        raise node.refuse("a slope that is not finite")
    steepest = max(1.0, float(np.abs(slope).max()))
    return [
        node.step(
            lambda x: np.where(x < 0, slope * x, x),
            prove=lambda: steepest,
            rounds=lambda: Loss(roundings=1, absolute=steepest, largest=steepest),
            facts={"slope": slope},
        )
    ]


def clip(node: Node) -> list[Step]:
    """Each entry kept between two constants, or on one side of one."""
    low, high = (_limit(node, place, side) for place, side in ((1, -math.inf), (2, math.inf)))
    if math.inf == low or high == -math.inf or low > high:
        raise node.refuse(f"limits {low} and {high}")
    facts = {"entry": ("between", (low, high))}
    return [node.step(lambda x: np.clip(x, low, high), facts=facts)]


def _limit(node: Node, place: int, missing: float) -> float:
    if not node.given(place):
        return missing
    values = node.constants.get(node.inputs[place])
    if values is None or values.dtype != np.float32 or values.size != 1 or np.isnan(values).any():
        raise node.refuse("a limit that is no single constant")
    return float(values.reshape(()))


def softmax(node: Node) -> list[Step]:
    """The derivative diag(p) - p pᵀ is symmetric with row sums 2 pᵢ (1 - pᵢ) ≤ 1/2."""
    axis = node.axis(int(node.attributes.get("axis", -1)))

    def run(x: np.ndarray) -> np.ndarray:
        shares = np.exp(x - x.max(axis=axis, keepdims=True))
        return np.asarray(shares / shares.sum(axis=axis, keepdims=True))

    terms = node.shape()[axis - 1]
    return [node.step(run, prove=lambda: 0.5, rounds=lambda: library(node.kind, terms=terms))]


def library(kind: str, *, terms: int, absolute: float = 1.0) -> Loss:
    """A float64 function whose accuracy is assumed, after a sum of so many terms."""
    return Loss(
        roundings=terms + 2,
        absolute=absolute,
        terms=terms,
        library=True,
        uncovered=f"float32 runtimes differ in how they round {kind}",
    )


def beside(node: Node) -> tuple[list[Step], int, np.ndarray]:
    """What enlarges the activation beside a constant, the constant's place, and its values."""
    at = 1 if node.fixed(1) else 0
    constant = node.weight(at)
    return node.enlarged(node.activation(1 - at), [constant.shape], at=1), at, constant


def shift(node: Node) -> list[Step]:
    """A constant added, taken away, or taken from."""
    made, at, constant = beside(node)
    name = made[0].result if made else node.activation(1 - at)
    subtract = node.kind == "Sub"

    def run(x: np.ndarray) -> np.ndarray:
        if subtract:
            return np.asarray(constant - x if at == 0 else x - constant)
        return np.asarray(x + constant)

    added = not (subtract and at == 0)
    facts: dict[str, Any] = {"shift": -constant if subtract else constant} if added else {}
    if constant.size == 1:
        number = float(constant.reshape(()))
        facts["entry"] = ("plus", (-number if subtract else number,))
        if not added:
            facts["entry"] = ("from", (number,))
    last = node.knowing(made)
    return [*made, last.step(run, name, rounds=lambda: Loss(roundings=1), facts=facts)]


def scale(node: Node) -> list[Step]:
    """A product with a constant, or a quotient by one."""
    made, at, constant = beside(node)
    name = made[0].result if made else node.activation(1 - at)
    magnitudes = np.abs(constant)
    if node.kind == "Mul":
        factor, run = float(magnitudes.max()), lambda x: x * constant
        loss = Loss(roundings=1, absolute=factor, largest=factor)
    else:
        least = float(magnitudes.min())
        if at == 0 or not least > 0:
            raise node.refuse("a divisor that is 0 or an activation")
        factor, run = above(1 / least, 1), lambda x: x / constant
        flushed = "a divisor may be read as 0" if least < SMALLEST else ""
        loss = Loss(roundings=2, absolute=factor, largest=factor, uncovered=flushed)
    facts: dict[str, Any] = {"scale": constant, "divides": node.kind == "Div"}
    if constant.size == 1:
        word = "times" if node.kind == "Mul" else "over"
        facts["entry"] = (word, (float(constant.reshape(())),))
    last = node.knowing(made)
    return [
        *made,
        last.step(run, name, prove=lambda: factor, rounds=lambda: loss, facts=facts),
    ]


def unbounded(node: Node) -> list[Step]:
    """Powers, roots and signs: steps that only a group gives a bound."""
    run: Callable[..., np.ndarray]
    facts: dict[str, Any] = {}
    if node.kind == "Pow":
        exponent = node.constants.get(node.inputs[1])
        if exponent is None or exponent.size != 1 or exponent.ndim > 1 + len(node.shape()):
            raise node.refuse("an exponent that is no single constant")
        power = float(exponent.reshape(()))
        if power not in POWERS:
            raise node.refuse(f"an exponent of {power}")
        run, facts = POWERS[power], {"power": power}
        if power > 1:
            facts["entry"] = ("square" if power == 2 else "cube", ())
    elif node.kind == "Sqrt":
        run, facts = _root, {"power": 0.5}
    else:
        run = np.sign
    return [node.step(run, facts=facts, prove=lambda: math.inf, bounded=False)]


def _root(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.maximum(x, 0)))


POWERS: dict[float, Callable[[np.ndarray], np.ndarray]] = {
    0.5: _root,
    2.0: np.square,
    3.0: lambda x: x * x * x,
}


def product(node: Node) -> list[Step]:
    """Two activations of one shape multiplied: a step that only a group gives a bound."""
    one, other = node.activation(0), node.activation(1)
    if node.shape(0) != node.shape(1):
        raise node.refuse("a product of activations of two shapes")
    return [node.step(np.multiply, one, other, prove=lambda: math.inf, bounded=False)]
