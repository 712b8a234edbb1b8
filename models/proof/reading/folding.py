"""Nodes whose result the file fixes: weights that are only moved, and arithmetic with shapes.

Weights may be moved and never computed: what is certified are the stored float32 numbers.  Whole
numbers may be computed, as the older exporter does with shapes; the length of the batch stands in
them as `BATCH`, which may be moved and compared, but not computed with.
"""

import math
from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

from models.proof.reading.node import BATCH, Node, stored_array

MOST_ENTRIES = 2**12
"""Shape arithmetic is small."""


def constant_value(node: Node) -> np.ndarray:
    """The value of a Constant node."""
    if len(node.attributes) != 1:
        raise node.refuse(f"{len(node.attributes)} values", "one value")
    match node.attributes:
        case {"value": onnx.TensorProto() as tensor}:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise node.refuse("a value in another file", "a value inside the model")
            return stored_array(tensor, owner=node.name)
        case {"value_float": float(value)}:
            return np.array(value, dtype=np.float32)
        case {"value_int": value} | {"value_ints": value}:
            array = np.array(value, dtype=np.int64)
            return stored_array(numpy_helper.from_array(array), owner=node.name)
        case {"value_floats": value}:
            return np.array(value, dtype=np.float32)
    raise node.refuse("a constant of another kind", "a dense tensor")


def shape_of(node: Node) -> np.ndarray:
    """The shape of an activation, the batch as `BATCH`."""
    sides = (BATCH, *node.shapes[node.activation()])
    first, end = node.attributes.get("start", 0), node.attributes.get("end", len(sides))
    return np.array(sides[first:end], dtype=np.int64)


def folded_constant(node: Node) -> np.ndarray:
    """The result of a node whose operands are all constants."""
    operands = [node.constants[name] for name in node.inputs if name]
    if node.kind in _MOVES:
        return _MOVES[node.kind](node)
    whole = all(operand.dtype.kind in "ib" for operand in operands)
    if not whole or node.kind not in _COMPUTED:
        raise node.refuse("arithmetic between constants", "weights stored as they are used")
    _check_amount(node, max(operand.size for operand in operands))
    if node.kind in _ARITHMETIC | {"ConstantOfShape"} and any(
        (operand == BATCH).any() for operand in operands
    ):
        raise node.refuse("arithmetic with the length of the batch", "shapes of one example")
    if node.kind in _JOINED:
        _check_amount(node, math.prod(np.broadcast_shapes(*(each.shape for each in operands))))
    result = np.asarray(_COMPUTED[node.kind](node, *operands))
    _check_amount(node, result.size)
    if node.kind in _ARITHMETIC:
        exact = np.asarray(_COMPUTED[node.kind](node, *(each.astype(float) for each in operands)))
        if (np.abs(exact) >= 2**53).any() or (exact != result).any():  # whole numbers wrap around
            raise node.refuse("whole numbers that large", "what float64 holds exactly")
    return result


def _check_amount(node: Node, entries: int) -> None:
    if entries > MOST_ENTRIES:
        raise node.refuse("whole numbers in such amounts", f"{MOST_ENTRIES} entries at most")


def _reshape(node: Node) -> np.ndarray:
    array, target = node.constants[node.inputs[0]], list(node.integers(1, "shape"))
    if not node.attributes.get("allowzero", 0):
        target = [array.shape[at] if side == 0 else side for at, side in enumerate(target)]
    return array.reshape(target)


def _first(node: Node) -> np.ndarray:
    return node.constants[node.inputs[0]]


_MOVES: dict[str, Callable[[Node], np.ndarray]] = {
    "Identity": _first,
    "Transpose": lambda node: _first(node).transpose(node.attributes.get("perm")),
    "Reshape": _reshape,
    "Squeeze": lambda node: _first(node).squeeze(node.axes()),
    "Unsqueeze": lambda node: np.expand_dims(_first(node), node.axes()),
}


def _cast(node: Node, array: np.ndarray) -> np.ndarray:
    kinds = {onnx.TensorProto.INT64: np.int64, onnx.TensorProto.BOOL: np.bool_}
    if node.attributes.get("to") not in kinds:
        raise node.refuse("a cast to another type", "INT64 or BOOL")
    return array.astype(kinds[node.attributes["to"]])


def _equal(node: Node, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = np.broadcast_arrays(first, second)
    for one, other in ((first, second), (second, first)):
        if ((one == BATCH) & (other > 0) & (other != BATCH)).any():
            raise node.refuse("a comparison with the length of the batch", "shapes of one example")
    return np.asarray(first == second)


def _divide(node: Node, dividend: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    if (dividend < 0).any() or (divisor < 1).any():
        raise node.refuse("a quotient of negative numbers or by 0", "positive whole numbers")
    return np.asarray(dividend // divisor)


def _slice(node: Node, array: np.ndarray, *_: np.ndarray) -> np.ndarray:
    starts, ends = node.integers(1, "starts"), node.integers(2, "ends")
    axes = node.integers(3, "axes") if node.input(3) else tuple(range(len(starts)))
    steps = node.integers(4, "steps") if node.input(4) else (1,) * len(starts)
    if BATCH in (*starts, *ends, *steps):
        raise node.refuse("a part as long as the batch", "parts that the file fixes")
    places = [slice(None)] * array.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        side = array.shape[axis]
        if step < 0 and (start < -side or end >= side):
            raise node.refuse(
                f"a slice backwards from {start} to {end} of {side} entries, which runtimes read "
                "in two ways",
                "one that begins and ends within them",
            )
        places[axis] = slice(start, end if step > 0 or end >= -side else None, step)
    return array[tuple(places)]


def _product(node: Node, array: np.ndarray, *axes: np.ndarray) -> np.ndarray:
    told = [name for name in ("axes", "noop_with_empty_axes") if node.attributes.get(name)]
    if axes or told:
        raise node.refuse("a product along axes that are told", "the product of all entries")
    return np.asarray(np.prod(array, keepdims=bool(node.attributes.get("keepdims", 1))))


def _filled(node: Node, shape: np.ndarray) -> np.ndarray:
    stored = node.attributes.get("value")
    value = np.zeros(1, np.float32) if stored is None else stored_array(stored, owner=node.name)
    if value.dtype.kind not in "ib" or (shape < 0).any() or np.prod(shape, dtype=float) > 2**12:
        raise node.refuse("a constant made of a shape", "a few whole numbers")
    return np.full(shape, value.reshape(-1)[0])


_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "ReduceProd", "Neg"}
_JOINED = {"Add", "Sub", "Mul", "Div", "Equal", "Where"}
_COMPUTED: dict[str, Callable[..., np.ndarray]] = {
    "Add": lambda _, a, b: a + b,
    "Sub": lambda _, a, b: a - b,
    "Mul": lambda _, a, b: a * b,
    "Div": _divide,
    "Neg": lambda _, a: -a,
    "ReduceProd": _product,
    "Concat": lambda node, *parts: np.concatenate(parts, axis=node.attributes["axis"]),
    "Gather": lambda node, a, at: np.take(a, at, axis=node.attributes.get("axis", 0)),
    "Slice": _slice,
    "Cast": _cast,
    "Equal": _equal,
    "Where": lambda _, condition, a, b: np.asarray(np.where(condition, a, b)),
    "ConstantOfShape": _filled,
}
SHAPE_KINDS = frozenset(_COMPUTED) | {"Shape", "Constant"}
