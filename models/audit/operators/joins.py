"""Operators where branches meet: Add, Sub, Sum, Mul and Div beside a constant, Max, Min, Concat."""

from functools import reduce

import numpy as np

from models.audit.node import Node
from models.audit.operators.elementwise import product, scale, shift
from models.audit.operators.smooth import part
from models.audit.step import EXACT, Loss, Step


def arithmetic(node: Node) -> list[Step]:
    """Sums and products, of branches or with a constant."""
    beside_constant = len(node.inputs) == 2 and (node.fixed(0) or node.fixed(1))
    if node.kind in ("Mul", "Div"):
        if beside_constant:
            return scale(node)
        if node.kind == "Div":
            return part(node)
        return product(node)
    if beside_constant:
        return shift(node)
    signs = [1, -1] if node.kind == "Sub" else [1] * len(node.inputs)
    made, names = _of_one_size(node, list(range(len(node.inputs))), [])
    terms = len(names)

    def run(*values: np.ndarray) -> np.ndarray:
        total = values[0]
        for sign, value in zip(signs[1:], values[1:], strict=True):
            total = total + sign * value
        return np.asarray(total)

    last = node.knowing(made).step(
        run,
        *names,
        joined="sum",
        rounds=lambda: Loss(roundings=max(1, terms - 1), terms=terms),
        facts={"signs": signs},
    )
    return [*made, last]


def extreme(node: Node) -> list[Step]:
    """The largest or smallest of branches and constants.

    |max a - max a′| ≤ max |aᵢ - aᵢ′|, which the root of the squares is no less than.
    """
    at = range(len(node.inputs))
    constants = [node.weight(place) for place in at if node.fixed(place)]
    branches = [place for place in at if not node.fixed(place)]
    made, names = _of_one_size(node, branches, [each.shape for each in constants])
    choose = np.maximum if node.kind == "Max" else np.minimum
    last = node.knowing(made).step(
        lambda *values: reduce(choose, [*values, *constants]),
        *names,
        joined="squares" if len(names) > 1 else "one",
        facts={"extreme": node.kind} if not constants else {"clips": True},
    )
    return [*made, last]


def concat(node: Node) -> list[Step]:
    """Branches side by side: squared distances add up."""
    names = [node.activation(place) for place in range(len(node.inputs))]
    axis = node.axis(int(node.attributes["axis"]))
    sides = [node.shapes[name] for name in names]
    others = sides[0][: axis - 1] + sides[0][axis:]
    node.fits((*others, sum(shape[axis - 1] for shape in sides if len(shape) >= axis)))
    return [
        node.step(
            lambda *values: np.concatenate(values, axis=axis),
            *names,
            joined="squares",
            rounds=lambda: EXACT,
            facts={"axis": axis},
        )
    ]


def _of_one_size(
    node: Node, places: list[int], constants: list[tuple[int, ...]]
) -> tuple[list[Step], list[str]]:
    """Branches as large as the largest of them and of the constants."""
    shapes = [(1, *node.shape(place)) for place in places] + constants
    made: list[Step] = []
    names = []
    for place in places:
        larger = node.enlarged(node.activation(place), shapes, at=1 + place)
        made += larger
        names.append(larger[0].result if larger else node.activation(place))
    return made, names
