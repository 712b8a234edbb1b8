"""Entries picked by their places along several axes at once: x[:, i, j], as exporters write it."""

import math

import numpy as np

from models.proof.operators.operator import Operator
from models.proof.operators.routing import Move
from models.proof.operators.selection import Selection
from models.proof.reading.checks import check_places, check_size
from models.proof.reading.node import Node


def index(node: Node) -> list[Operator]:
    """Transpose, GatherND by constant places and Transpose, with the batch kept in front.

    The picked axes are put behind the batch and made one, along which entries are picked; the one
    axis becomes those of the places, and all axes go where the second Transpose puts them.
    """
    x = node.activation()
    shape = node.shapes[x]
    before, after = node.attributes["before"], node.attributes["after"]
    if not node.is_constant(1) or node.constants[node.input(1)].dtype != np.int64:
        raise node.refuse("places that depend on the input", "constant places, int64")
    places = node.constants[node.input(1)]
    many = places.shape[-1] if places.ndim else 0
    axes = [axis for axis in before if axis != 0]
    if sorted(before) != list(range(len(shape) + 1)) or 0 in before[:many] or not many:
        raise node.refuse(f"places along the axes {before[:many]}", "axes behind the batch")
    sides = [shape[axis - 1] for axis in axes]
    picked, rest = sides[:many], sides[many:]
    if places.size == 0 or (places < -np.array(picked)).any() or (places >= picked).any():
        raise node.refuse("places outside of the axes, or none", f"places below {picked}")
    check_places(places.size)
    flat = np.ravel_multi_index(tuple((places % picked).reshape(-1, many).T), picked)
    check_size(len(flat) * math.prod(rest))
    ways = places.ndim - 1  # axes that the places have in place of those that are picked
    made = [*range(1, ways + 1), *(_now(axis, axes, many, ways) for axis in before[many:])]
    order = tuple(made[axis] for axis in after)
    if order[0] != 0 or sorted(order) != list(range(len(made))):
        raise node.refuse(f"the order {list(after)} behind it", "one that puts the batch first")
    return node.chain(
        x,
        (Move, {"kind": "Transpose", "order": (0, *axes)}),
        (Move, {"kind": "Reshape", "reshape": (math.prod(picked), *rest)}),
        (Selection, {"indices": (tuple(map(int, flat)), *[None] * len(rest))}),
        (Move, {"kind": "Reshape", "reshape": (*places.shape[:-1], *rest)}),
        (Move, {"kind": "Transpose", "order": order}),
    )


def _now(axis: int, axes: list[int], many: int, ways: int) -> int:
    """Where an axis of the operand is once the places have their axes; the batch stays in front."""
    return 0 if axis == 0 else axes.index(axis) - many + ways + 1
