"""Nodes that change each entry by itself, and Softmax: which forms of each are accepted."""

import math

import numpy as np

from models.proof.operators.affine import Scale, Shift
from models.proof.operators.assumed import Softmax
from models.proof.operators.elementwise import Activation, Clip
from models.proof.operators.operator import Constant, Operator
from models.proof.operators.smooth import Smooth, ThresholdSoftplus
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
    """A function without parameters, or a group of nodes that are one with parameters."""
    return [Smooth(**node.named(node.activation()), parameters=node.parameters())]


def exponential(node: Node) -> list[Operator]:
    """Elu, Selu and Celu: x above 0, an exponential below."""
    x = node.activation()
    names = {"alpha": 1.0}
    if node.kind == "Selu":
        names = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
    found = [float(node.attributes.get(name, usual)) for name, usual in names.items()]
    if not all(math.isfinite(entry) for entry in found) or (node.kind == "Celu" and found[0] <= 0):
        raise node.refuse(f"{' and '.join(names)} = {found}", "finite numbers; of Celu above 0")
    return [Smooth(**node.named(x), parameters=tuple(found))]


def gelu(node: Node) -> list[Operator]:
    """X (1 + erf(x / √2)) / 2, or what tanh makes of that."""
    x = node.activation()
    if node.parameters():
        return smooth(node)
    way = node.attributes.get("approximate", b"none").decode()
    if way not in ("none", "tanh"):
        raise node.refuse(f"approximate = {way}", "none or tanh")
    inner = math.sqrt(2 / math.pi)
    if way == "tanh":
        parameters = (0.5, inner, 0.044715 * inner)
        return [Smooth(**node.named(x) | {"kind": "GeluTanh"}, parameters=parameters)]
    return [Smooth(**node.named(x), parameters=(0.5, math.sqrt(0.5)))]


def mish(node: Node) -> list[Operator]:
    """X tanh(log(1 + exp x)); as a group of nodes, with a factor."""
    return [Smooth(**node.named(node.activation()), parameters=node.parameters(1.0))]


def hard_swish(node: Node) -> list[Operator]:
    """X min(max(x / 6 + 1/2, 0), 1); as a group of nodes, with other numbers."""
    sixth = float(np.float32(1 / 6))  # as the operator's definition has it
    return [Smooth(**node.named(node.activation()), parameters=node.parameters(1.0, sixth, 0.5))]


def hard_sigmoid(node: Node) -> list[Operator]:
    """min(max(alpha x + beta, 0), 1), as the three operators that it is."""
    told = {"alpha": 0.2, "beta": 0.5} | node.attributes
    alpha, beta, low, high = (
        Constant(np.array(entry, dtype=np.float32))
        for entry in (told["alpha"], told["beta"], 0.0, 1.0)
    )
    if not np.isfinite(alpha.array + beta.array):
        raise node.refuse(f"alpha = {told['alpha']} and beta = {told['beta']}", "finite numbers")
    return node.chain(
        node.activation(),
        (Scale, {"constant": alpha}),
        (Shift, {"constant": beta}),
        (Clip, {"low": low, "high": high}),
    )


def threshold_softplus(node: Node) -> list[Operator]:
    """A group of nodes: Softplus, and the operand itself above a threshold."""
    steepness, threshold = node.parameters()
    named = node.named(node.activation()) | {"kind": "Softplus"}
    return [ThresholdSoftplus(**named, steepness=steepness, threshold=threshold)]


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
