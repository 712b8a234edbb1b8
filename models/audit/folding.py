"""Tensors that the file fixes: stored weights, weights moved, and whole numbers computed.

Weights may be moved and never computed.  Shapes may be computed with; the length of the batch
stands in them as `BATCH`, which may be moved about and not computed with.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

from models.audit.node import BATCH, WHOLE, Node, stored

MOST = 2**12
"""Shape arithmetic is small."""


def folded(node: Node) -> np.ndarray | None:
    """The tensor that a node makes, where the file fixes it; None where the image does."""
    if node.kind == "Constant":
        return stored(_constant(node), node.name)
    if node.kind == "Shape" and not node.fixed(0):
        sides = (BATCH, *node.shape())
        return np.array(sides[node.attributes.get("start", 0) : node.attributes.get("end")])
    if not all(node.fixed(at) for at in range(len(node.inputs)) if node.given(at)):
        return None
    operands = [node.constants[name] for name in node.inputs if name]
    if node.kind in MOVED and operands:
        return MOVED[node.kind](node, *operands)
    if node.kind not in COMPUTED or any(
        each.dtype.kind not in "ib" or each.size > MOST for each in operands
    ):
        raise node.refuse("arithmetic between constants")
    if node.kind in NUMBERS and any((each == BATCH).any() for each in operands):
        raise node.refuse("arithmetic with the length of the batch")
    if node.kind in JOINED and np.broadcast(*operands).size > MOST:
        raise node.refuse("shape arithmetic of that size")
    made = np.asarray(COMPUTED[node.kind](node, *operands))
    if made.size > MOST or (node.kind in WRAPPING and not _same(node, made, operands)):
        raise node.refuse("shape arithmetic of that size")
    return made


def _same(node: Node, made: np.ndarray, operands: list[np.ndarray]) -> bool:
    """Whether nothing wrapped around: Python's whole numbers have no end."""
    exact = np.asarray(COMPUTED[node.kind](node, *(each.astype(object) for each in operands)))
    return bool((exact == made).all() and (np.abs(exact) < 2**53).all())


def _constant(node: Node) -> np.ndarray:
    match dict(node.attributes):
        case {"value": onnx.TensorProto() as value, **others} if not others:
            if value.data_location == onnx.TensorProto.EXTERNAL:
                raise node.refuse("a value in another file")
            return np.asarray(numpy_helper.to_array(value))
        case {"value_float": value, **others} | {"value_floats": value, **others} if not others:
            return np.array(value, dtype=np.float32)
        case {"value_int": value, **others} | {"value_ints": value, **others} if not others:
            return np.array(value, dtype=np.int64)
    raise node.refuse("a constant of that kind")


def _reshape(node: Node, array: np.ndarray, target: np.ndarray) -> np.ndarray:
    sides = [int(side) for side in target]
    if not node.attributes.get("allowzero", 0):
        sides = [array.shape[at] if side == 0 else side for at, side in enumerate(sides)]
    return array.reshape(sides)


def _axes(axes: np.ndarray) -> tuple[int, ...]:
    return tuple(int(axis) for axis in axes)


MOVED: dict[str, Callable[..., np.ndarray]] = {
    "Identity": lambda _, array: array,
    "Transpose": lambda node, array: array.transpose(node.attributes.get("perm")),
    "Reshape": _reshape,
    "Squeeze": lambda _, array, axes: array.squeeze(_axes(axes)),
    "Unsqueeze": lambda _, array, axes: np.expand_dims(array, _axes(axes)),
}


def _quotient(node: Node, dividend: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    if (dividend < 0).any() or (divisor < 1).any():
        raise node.refuse("a quotient that is not of positive whole numbers")
    return np.asarray(dividend // divisor)


def _equal(node: Node, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    one, other = np.broadcast_arrays(first, second)
    unlike = (one == BATCH) != (other == BATCH)
    if (unlike & (np.maximum(one, other) > 0)).any():
        raise node.refuse("a comparison with the length of the batch")
    return np.asarray(one == other)


def _cast(node: Node, array: np.ndarray) -> np.ndarray:
    kinds = {onnx.TensorProto.INT64: np.int64, onnx.TensorProto.BOOL: np.bool_}
    if node.attributes.get("to") not in kinds:
        raise node.refuse("a cast to another type")
    return array.astype(kinds[node.attributes["to"]])


def slices(node: Node, shape: tuple[int, ...]) -> dict[int, range]:
    """The places that a Slice takes, axis by axis; axes that are kept whole are left out."""
    rank = len(shape)
    starts, ends = node.whole(1), node.whole(2)
    axes = node.whole(3) if node.given(3) else list(range(len(starts)))
    steps = node.whole(4) if node.given(4) else [1] * len(starts)
    taken: dict[int, range] = {}
    for told, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = told + rank if told < 0 else told
        if not 0 <= axis < rank or axis in taken or step == 0 or BATCH in (start, step):
            raise node.refuse("a part of that form")
        if step < 0 and (start < -shape[axis] or end >= shape[axis]):
            raise node.refuse("a way back from outside the axis, which runtimes read in two ways,")
        if shape[axis] == BATCH:
            if (start, step) != (0, 1) or not (end == BATCH or end >= WHOLE):
                raise node.refuse("a part of the batch")
            continue
        if end == BATCH:
            raise node.refuse("a part as long as the batch")
        taken[axis] = range(shape[axis])[start:end:step]
    return taken


def _part(node: Node, array: np.ndarray, *_: np.ndarray) -> np.ndarray:
    for axis, places in slices(node, array.shape).items():
        array = np.take(array, np.array(places, dtype=np.int64), axis=axis)
    return array


def _product(node: Node, array: np.ndarray, *axes: np.ndarray) -> np.ndarray:
    if axes or {"axes", "noop_with_empty_axes"} & {k for k, v in node.attributes.items() if v}:
        raise node.refuse("a product along some axes")
    return np.asarray(np.prod(array, keepdims=bool(node.attributes.get("keepdims", 1))))


def _filled(node: Node, shape: np.ndarray) -> np.ndarray:
    told = node.attributes.get("value")
    value = np.zeros(1, np.float32) if told is None else numpy_helper.to_array(told)
    if value.dtype.kind not in "ib" or (shape < 0).any() or float(np.prod(shape)) > MOST:
        raise node.refuse("a constant made of a shape")
    return np.full([int(side) for side in shape], stored(value, node.name).reshape(-1)[0])


JOINED = ("Add", "Sub", "Mul", "Div", "Equal", "Where")
WRAPPING = ("Add", "Sub", "Mul", "Div", "Neg", "ReduceProd")
NUMBERS = ("Add", "Sub", "Mul", "Div", "Neg", "ReduceProd", "ConstantOfShape")
COMPUTED: dict[str, Callable[..., np.ndarray]] = {
    "Add": lambda _, a, b: a + b,
    "Sub": lambda _, a, b: a - b,
    "Mul": lambda _, a, b: a * b,
    "Div": _quotient,
    "Neg": lambda _, a: -a,
    "ReduceProd": _product,
    "Concat": lambda node, *parts: np.concatenate(parts, axis=node.attributes["axis"]),
    "Gather": lambda node, a, at: np.take(a, at, axis=node.attributes.get("axis", 0)),
    "Slice": _part,
    "Cast": _cast,
    "Equal": _equal,
    "Where": lambda _, chosen, a, b: np.asarray(np.where(chosen, a, b)),
    "ConstantOfShape": _filled,
}
