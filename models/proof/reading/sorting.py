"""Nodes that sort: which forms are accepted."""

from models.proof.operators.operator import Operator
from models.proof.operators.sorting import TopK
from models.proof.reading.node import Node


def top_k(node: Node) -> list[Operator]:
    """The largest or smallest entries of an axis, in order; the places may not be read."""
    x = node.activation()
    shape = node.shapes[x]
    axis = node.axis(node.attributes.get("axis", -1), len(shape) + 1)
    if not node.attributes.get("sorted", 1):
        raise node.refuse("sorted = 0, where each runtime has an order of its own", "sorted = 1")
    kept = node.integers(1, "number of entries")
    if len(kept) != 1 or not 1 <= kept[0] <= shape[axis - 1]:
        raise node.refuse(f"the first {list(kept)} of {shape[axis - 1]}", "some or all of them")
    largest = bool(node.attributes.get("largest", 1))
    return [TopK(**node.named(x), axis=axis, k=kept[0], largest=largest)]
