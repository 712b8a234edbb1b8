"""Nodes that reduce axes: attribute or operand, whichever the opset has."""

import math

from models.proof.operators.operator import Operator
from models.proof.operators.reduction import Reduction
from models.proof.reading.node import Node


def reduction(node: Node) -> list[Operator]:
    """An extreme, a mean, a sum or a norm over axes behind the batch."""
    x = node.activation()
    rank = len(node.shapes[x]) + 1
    stored = node.integers(1, "axes") if node.input(1) else node.attributes.get("axes", ())
    if not stored:
        raise node.refuse("no axes, which is all of them or none", "axes behind the batch")
    axes = tuple(sorted({node.axis(axis, rank) for axis in stored}))
    if len(axes) != len(stored):
        raise node.refuse(f"axes {list(stored)}", "each axis once")
    return _reduction(node, x, axes, keepdims=bool(node.attributes.get("keepdims", 1)))


def global_pool(node: Node) -> list[Operator]:
    """An extreme or a mean over all axes behind the channels."""
    x = node.activation()
    rank = len(node.shapes[x]) + 1
    if rank < 3:
        raise node.refuse(f"an example of shape {list(node.shapes[x])}", "axes behind channels")
    return _reduction(node, x, tuple(range(2, rank)), keepdims=True)


def _reduction(node: Node, x: str, axes: tuple[int, ...], *, keepdims: bool) -> list[Operator]:
    entries = math.prod(node.shapes[x][axis - 1] for axis in axes)
    return [Reduction(**node.named(x), axes=axes, keepdims=keepdims, entries=entries)]
