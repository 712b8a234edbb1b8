"""Nodes that move entries: which forms of each are accepted."""

import math

import numpy as np

from models.proof.operators.operator import Operator
from models.proof.operators.routing import Move
from models.proof.reading.node import BATCH, Node


def reshape(node: Node) -> list[Operator]:
    """The shape that a Reshape states, for each example."""
    x = node.activation()
    shape = node.shapes[x]
    size = math.prod(shape)
    batch, *target = node.integers(1, "shape") or (1,)  # a shape without axes has no batch
    if len(target) > len(shape) and 0 in target[len(shape) :]:
        raise node.refuse(f"the target {[batch, *target]}", "a 0 where the example has an axis")
    if not node.attributes.get("allowzero", 0):
        batch = BATCH if batch == 0 else batch
        full = (2, *shape)
        target = [full[at] if side == 0 else side for at, side in enumerate(target, start=1)]
    if batch == node.batch:
        batch = BATCH  # as long as the operand's, so what follows is the shape of one example
    if batch == BATCH and target.count(-1) == 1:
        rest = -math.prod(target)
        target[target.index(-1)] = size // rest if rest > 0 else 0
    if batch in (BATCH, -1) and all(side > 0 for side in target) and math.prod(target) == size:
        return [Move(**node.named(x), reshape=tuple(target))]
    raise node.refuse(
        f"the target {[batch, *target]} for an example of shape {list(shape)}",
        "-1 or 0 for the batch (or its length, where that is fixed) and known lengths of the same "
        "size behind it",
    )


def flatten(node: Node) -> list[Operator]:
    """Each example as one row."""
    x = node.activation()
    shape = node.shapes[x]
    if node.attributes.get("axis", 1) not in (1, -len(shape)):
        raise node.refuse(f"axis = {node.attributes['axis']}, which moves the batch", "axis 1")
    return [Move(**node.named(x), reshape=(math.prod(shape),))]


def squeeze(node: Node) -> list[Operator]:
    """Axes of length 1 left out or put in."""
    x = node.activation()
    shape = node.shapes[x]
    axes = node.axes()
    probe = np.empty((2, *shape))
    try:
        moved = probe.squeeze(axes) if node.kind == "Squeeze" else np.expand_dims(probe, axes)
    except ValueError:
        raise node.refuse(f"axes {list(axes)}", "axes of length 1 behind the batch") from None
    if moved.ndim < 2 or len(moved) != 2:
        raise node.refuse(f"axes {list(axes)}, which move the batch", "axes behind the batch")
    return [Move(**node.named(x), reshape=moved.shape[1:])]


def transpose(node: Node) -> list[Operator]:
    """Another order of the axes behind the batch."""
    x = node.activation()
    rank = len(node.shapes[x]) + 1
    order = tuple(node.attributes.get("perm", reversed(range(rank))))
    if order[0] != 0 or sorted(order) != list(range(rank)):
        raise node.refuse(f"the order {list(order)}", "an order that leaves the batch first")
    return [Move(**node.named(x), order=order)]


def identity(node: Node) -> list[Operator]:
    """Nothing at all; Dropout in inference is that."""
    training = node.kind == "Dropout" and node.input(2)
    if training and not (node.is_constant(2) and not node.constants[node.input(2)].any()):
        raise node.refuse("training mode", "inference mode")
    return [Move(**node.named(node.activation()))]


def split(node: Node) -> list[Operator]:
    """Parts of an axis, one operator to a part."""
    x = node.activation()
    axis = node.axis(node.attributes.get("axis", 0), len(node.shapes[x]) + 1)
    side, parts = node.shapes[x][axis - 1], len(node.outputs)
    if node.attributes.get("num_outputs", parts) != parts:
        raise node.refuse(f"{node.attributes['num_outputs']} parts", f"its {parts} outputs")
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


def depth_to_space(node: Node) -> list[Operator]:
    """Channels to places, or back: two new shapes and an order of axes between them."""
    x = node.activation()
    block = node.attributes["blocksize"]
    shape = node.shapes[x]
    if len(shape) != 3 or block < 1:
        raise node.refuse(f"blocks of {block} for an example of shape {list(shape)}", "an image")
    channels, height, width = shape
    if node.kind == "SpaceToDepth":
        rows, columns = height // block, width // block
        apart = (channels, rows, block, columns, block)
        order = (0, 3, 5, 1, 2, 4)
        target = (channels * block**2, rows, columns)
    else:
        fewer = channels // block**2
        mode = node.attributes.get("mode", b"DCR")
        if mode not in (b"DCR", b"CRD"):
            raise node.refuse(f"mode {mode.decode()}", "DCR or CRD")
        apart = (block, block, fewer, height, width)
        order = (0, 3, 4, 1, 5, 2)
        if mode == b"CRD":
            apart, order = (fewer, block, block, height, width), (0, 1, 4, 2, 5, 3)
        target = (fewer, height * block, width * block)
    if math.prod(apart) != math.prod(shape):
        raise node.refuse(f"blocks of {block} for an example of shape {list(shape)}", "whole ones")
    return node.chain(
        x, (Move, {"reshape": apart}), (Move, {"order": order}), (Move, {"reshape": target})
    )
