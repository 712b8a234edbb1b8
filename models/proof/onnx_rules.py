"""One ONNX node to operators of a program: which forms of each kind are accepted.

A node whose operands are all constants is folded where that takes no arithmetic.  Everything that
is not listed here is refused; nothing has a default.
"""

import math
from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from models.proof.onnx_nodes import (
    Activations,
    Constants,
    Node,
    constant_value,
    folded_constant,
)
from models.proof.operators import (
    Activation,
    Concatenation,
    Constant,
    Dense,
    Move,
    Operator,
    Scale,
    Shift,
    Sum,
)


def lower_node(proto: onnx.NodeProto, constants: Constants, shapes: Activations) -> list[Operator]:
    """Operators that compute a node, or none where it was folded into `constants`."""
    node = Node(
        name=proto.name or proto.output[0],
        kind=proto.op_type,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={entry.name: helper.get_attribute_value(entry) for entry in proto.attribute},
        constants=constants,
        shapes=shapes,
    )
    if node.kind == "Constant":
        constants[node.outputs[0]] = constant_value(node)
        return []
    if all(name in constants for name in node.inputs if name):
        constants[node.outputs[0]] = folded_constant(node)
        return []
    return _LOWER[node.kind](node)


def _gemm(node: Node) -> list[Operator]:
    for factor in ("alpha", "beta"):
        if node.attributes.get(factor, 1.0) != 1.0:
            raise node.refuse(f"{factor} = {node.attributes[factor]}", f"{factor} = 1")
    if node.attributes.get("transA", 0):
        raise node.refuse("transA = 1, which mixes the batch", "transA = 0")
    x, weight = node.activation(), node.weight(1, "weight").array
    if weight.ndim != 2 or len(node.shapes[x]) != 1:
        raise node.refuse("operands that are not matrices", "a batch of rows times a matrix")
    weight = weight if node.attributes.get("transB", 0) else weight.T
    bias = None
    if node.input(2):
        stored = node.weight(2, "bias").array
        if stored.shape[-1:] not in ((), (1,), (len(weight),)) or stored.size > len(weight):
            raise node.refuse(f"a bias of shape {list(stored.shape)}", "one entry to an output")
        bias = Constant(np.broadcast_to(stored.reshape(-1), (len(weight),)))
    return [Dense(**node.named(x), weight=Constant(weight), bias=bias)]


def _matmul(node: Node) -> list[Operator]:
    x = node.activation()
    weight = node.weight(1, "weight").array
    if weight.ndim != 2:
        raise node.refuse(f"a constant of shape {weight.shape}", "a matrix on the right")
    return [Dense(**node.named(x), weight=Constant(weight.T))]


def _fits(node: Node, constant: Constant, x: str) -> Constant:
    """A constant that broadcasts to x without enlarging it or touching the batch."""
    full = (2, *node.shapes[x])
    shape = constant.array.shape
    padded = (1,) * (len(full) - len(shape)) + shape
    same_batch = len(padded) == len(full) and padded[0] == 1
    if not same_batch or any(
        side not in (1, target) for side, target in zip(padded[1:], full[1:], strict=True)
    ):
        raise node.refuse(
            f"a constant of shape {list(shape)} beside an activation of shape {list(full[1:])}",
            "a constant that broadcasts to it",
        )
    return constant


def _add_or_subtract(node: Node) -> list[Operator]:
    subtract = node.kind == "Sub"
    if any(node.is_constant(place) for place in (0, 1)):
        place = 1 if node.is_constant(1) else 0
        x = node.activation(1 - place)
        constant = _fits(node, node.weight(place, "constant"), x)
        return [
            Shift(
                **node.named(x),
                constant=constant,
                sign=-1 if subtract else 1,
                negate=subtract and place == 0,
            )
        ]
    return _sum(node, (1, -1 if subtract else 1))


def _sum(node: Node, signs: tuple[int, ...] | None = None) -> list[Operator]:
    operands = tuple(node.activation(place) for place in range(len(node.inputs)))
    if len({node.shapes[name] for name in operands}) != 1:
        shapes = ", ".join(str(list(node.shapes[name])) for name in operands)
        raise node.refuse(f"branches of shapes {shapes}", "branches of one shape")
    return [Sum(**node.named(*operands), signs=signs or (1,) * len(operands))]


def _scale(node: Node) -> list[Operator]:
    if not any(node.is_constant(place) for place in (0, 1)):
        raise node.refuse("two activations", "an activation and a constant")
    if node.kind == "Div" and not node.is_constant(1):
        raise node.refuse("a divisor that depends on the input", "a constant divisor")
    place = 1 if node.is_constant(1) else 0
    x = node.activation(1 - place)
    constant = _fits(node, node.weight(place, "constant"), x)
    if node.kind == "Div" and not np.abs(constant.array).min() > 0:
        raise node.refuse("a divisor of 0", "divisors other than 0")
    return [Scale(**node.named(x), constant=constant, divide=node.kind == "Div")]


def _activation(node: Node) -> list[Operator]:
    x = node.activation()
    slope = None
    if node.kind == "LeakyRelu":
        alpha = float(node.attributes.get("alpha", 0.01))
        slope = Constant(np.array(alpha, dtype=np.float32))
        if not math.isfinite(alpha):
            raise node.refuse(f"alpha = {alpha}", "a finite slope")
    if node.kind == "PRelu":
        slope = _fits(node, node.weight(1, "slope"), x)
    return [Activation(**node.named(x), slope=slope)]


def _reshape(node: Node) -> list[Operator]:
    x = node.activation()
    shape = node.shapes[x]
    size = math.prod(shape)
    if node.kind == "Flatten":
        if node.attributes.get("axis", 1) not in (1, -len(shape)):
            raise node.refuse(f"axis = {node.attributes['axis']}, which moves the batch", "axis 1")
        return [Move(**node.named(x), reshape=(size,))]
    if node.kind == "Reshape":
        batch, *target = node.integers(1, "shape")
        if not node.attributes.get("allowzero", 0):
            batch = -1 if batch == 0 else batch
            full = (2, *shape)
            target = [full[at] if side == 0 else side for at, side in enumerate(target, start=1)]
        if batch == -1 and all(side > 0 for side in target) and math.prod(target) == size:
            return [Move(**node.named(x), reshape=tuple(target))]
        raise node.refuse(
            f"the target {[batch, *target]} for an example of shape {list(shape)}",
            "-1 or 0 for the batch and known lengths of the same size behind it",
        )
    axes = node.integers(1, "axes")
    probe = np.empty((2, *shape))
    try:
        moved = probe.squeeze(axes) if node.kind == "Squeeze" else np.expand_dims(probe, axes)
    except ValueError:
        raise node.refuse(f"axes {list(axes)}", "axes of length 1 behind the batch") from None
    if moved.ndim < 2 or len(moved) != 2:
        raise node.refuse(f"axes {list(axes)}, which move the batch", "axes behind the batch")
    return [Move(**node.named(x), reshape=moved.shape[1:])]


def _transpose(node: Node) -> list[Operator]:
    x = node.activation()
    rank = len(node.shapes[x]) + 1
    order = tuple(node.attributes.get("perm", reversed(range(rank))))
    if order[0] != 0 or sorted(order) != list(range(rank)):
        raise node.refuse(f"the order {list(order)}", "an order that leaves the batch first")
    return [Move(**node.named(x), order=order)]


def _identity(node: Node) -> list[Operator]:
    training = node.kind == "Dropout" and node.input(2)
    if training and not (node.is_constant(2) and not node.constants[node.input(2)].any()):
        raise node.refuse("training mode", "inference mode")
    return [Move(**node.named(node.activation()))]


def _axis(node: Node, rank: int) -> int:
    axis = int(node.attributes.get("axis", 0))
    axis += rank if axis < 0 else 0
    if not 0 < axis < rank:
        raise node.refuse(f"axis = {axis}, which is the batch or no axis", "an axis behind it")
    return axis


def _concat(node: Node) -> list[Operator]:
    operands = tuple(node.activation(place) for place in range(len(node.inputs)))
    axis = _axis(node, len(node.shapes[operands[0]]) + 1)
    return [Concatenation(**node.named(*operands), axis=axis)]


def _split(node: Node) -> list[Operator]:
    x = node.activation()
    axis = _axis(node, len(node.shapes[x]) + 1)
    side, parts = node.shapes[x][axis - 1], len(node.outputs)
    if node.input(1):
        sizes = node.integers(1, "split")
    else:
        chunk = -(-side // parts)
        sizes = (chunk,) * (parts - 1) + (side - chunk * (parts - 1),)
    if len(sizes) != parts or sum(sizes) != side or min(sizes) < 1:
        raise node.refuse(f"parts {list(sizes)} of an axis of {side}", "parts that fill the axis")
    pieces: list[Operator] = []
    start = 0
    for result, size in zip(node.outputs, sizes, strict=True):
        named = node.named(x) | {"result": result, "name": f"{node.name}[{len(pieces)}]"}
        pieces.append(Move(**named, crop=(axis, start, start + size)))
        start += size
    return pieces


_LOWER: dict[str, Callable[[Node], list[Operator]]] = {
    "Add": _add_or_subtract,
    "Sub": _add_or_subtract,
    "Sum": _sum,
    "Mul": _scale,
    "Div": _scale,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Relu": _activation,
    "Abs": _activation,
    "Neg": _activation,
    "LeakyRelu": _activation,
    "PRelu": _activation,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "Identity": _identity,
    "Dropout": _identity,
    "Concat": _concat,
    "Split": _split,
}

KNOWN_KINDS = frozenset(_LOWER) | {"Constant"}
