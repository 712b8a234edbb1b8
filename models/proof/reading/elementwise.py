"""Nodes that change each entry by itself, and Softmax: which forms of each are accepted."""

import math

import numpy as np

from models.proof.operators.assumed import Smooth, Softmax
from models.proof.operators.elementwise import Activation, Clip
from models.proof.operators.operator import Constant, Operator
from models.proof.reading.broadcasting import beside_constant
from models.proof.reading.node import Node


def activation(node: Node) -> list[Operator]:
    """A piecewise linear function of each entry."""
    slope, x = None, node.activation()
    if node.kind == "LeakyRelu":
        alpha = float(node.attributes.get("alpha", 0.01))
        slope = Constant(np.array(alpha, dtype=np.float32))
        if not math.isfinite(alpha):
            raise node.refuse(f"alpha = {alpha}", "a finite slope")
    if node.kind == "PRelu":
        enlarging, _, slope = beside_constant(node, 1, "slope")
        if enlarging:
            raise node.refuse("slopes that enlarge the activation", "slopes that broadcast to it")
    return [Activation(**node.named(x), slope=slope)]


def clip(node: Node) -> list[Operator]:
    """Each entry kept between two constants, or on one side of one."""
    low, high = _clip_bound(node, 1, "minimum"), _clip_bound(node, 2, "maximum")
    if low == math.inf or high == -math.inf or low > high:
        raise node.refuse(f"bounds {low} and {high}", "a minimum below a maximum")
    return [
        Clip(
            **node.named(node.activation()),
            low=None if low == -math.inf else Constant(np.array(low)),
            high=None if high == math.inf else Constant(np.array(high)),
        )
    ]


def smooth(node: Node) -> list[Operator]:
    """Tanh, Sigmoid or Softplus of each entry."""
    return [Smooth(**node.named(node.activation()))]


def softmax(node: Node) -> list[Operator]:
    """Softmax along an axis behind the batch."""
    x = node.activation()
    axis = node.axis(node.attributes.get("axis", -1), len(node.shapes[x]) + 1)
    return [Softmax(**node.named(x), axis=axis)]


def _clip_bound(node: Node, place: int, role: str) -> float:
    """A bound of a Clip; infinite where there is none."""
    if not node.input(place):
        return -math.inf if place == 1 else math.inf
    if not node.is_constant(place):
        raise node.refuse(f"a {role} that depends on the input", f"a constant {role}")
    stored = node.constants[node.input(place)]
    if stored.dtype != np.float32 or stored.size != 1 or np.isnan(stored).any():
        raise node.refuse(f"a {role} of type {stored.dtype}", "a single float32 number")
    return float(stored.reshape(()))
