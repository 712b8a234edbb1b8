"""Entries picked by places along several axes at once, x[:, i, j], as exporters write it.

The picked axes are moved to the front, the batch behind them; GatherND picks; and a second
Transpose moves the batch back.  Step by step the batch is mixed, all three together it is not.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from models.audit.node import Node
from models.audit.step import Step

Group = tuple[onnx.NodeProto, onnx.NodeProto, onnx.NodeProto]
PICKED = "Index"
"""What the three nodes are called together."""


def picking(nodes: Iterable[onnx.NodeProto]) -> dict[str, Group]:
    """The nodes of each such group, by the name of what it makes."""
    nodes = list(nodes)
    makers = {name: node for node in nodes for name in node.output}
    found = {}
    for last in nodes:
        if last.op_type != "Transpose" or not last.input:
            continue
        middle = makers.get(last.input[0])
        if middle is None or middle.op_type != "GatherND" or len(middle.input) != 2:
            continue
        first = makers.get(middle.input[0])
        if first is not None and first.op_type == "Transpose" and len(first.input) == 1:
            found[last.output[0]] = first, middle, last
    return found


def as_one(node: Node, group: Group) -> Node:
    """The last node of a group, reading what the whole group reads."""
    first, middle, last = group
    attributes = {
        role: [int(axis) for axis in entry.ints]
        for role, owner in (("before", first), ("behind", last))
        for entry in owner.attribute
        if entry.name == "perm"
    }
    for entry in middle.attribute:
        attributes[entry.name] = helper.get_attribute_value(entry)
    inputs = (first.input[0], middle.input[1])
    return replace(node, kind=PICKED, inputs=inputs, attributes=attributes)


def picked(node: Node) -> list[Step]:
    """The three of them; a file cannot hold the name."""
    shape = node.shape()
    rank = 1 + len(shape)
    before = list(node.attributes.get("before", ()))
    if node.attributes.get("batch_dims", 0) != 0 or sorted(before) != list(range(rank)):
        raise node.refuse("places beside the batch")
    index = node.constants.get(node.inputs[1])
    if index is None or index.dtype != np.int64 or index.ndim < 1 or not index.size:
        raise node.refuse("places that are no constant")
    many = index.shape[-1]
    sides = [shape[axis - 1] for axis in before[:many]]
    if many > rank - 1 or 0 in before[:many]:
        raise node.refuse("places in the batch")
    if (index < -np.array(sides)).any() or (index >= sides).any():
        raise node.refuse("places outside the axes")
    ways = tuple(np.moveaxis(index, -1, 0))
    behind = list(node.attributes.get("behind", ()))
    made = index.ndim - 1 + rank - many
    if sorted(behind) != list(range(made)) or behind[0] != index.ndim - 1 + before[many:].index(0):
        raise node.refuse("an order that leaves the batch inside")
    node.fits((ways[0].size, *(shape[axis - 1] for axis in before[many:] if axis)))
    return [node.move(lambda x: x.transpose(before)[ways].transpose(behind))]
