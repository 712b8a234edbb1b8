"""Windows and whole axes reduced to one entry each: the largest, least, mean, sum or norm.

A choice within a window, or its norm, moves no further than the window, so distances grow by the
root of the largest number of windows that an entry is in.  Sums with positive weights: σ² is at
most the largest row sum times the largest column sum.  Both are counted, never computed from the
kernel's size: windows at a border may have smaller divisors.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from models.audit.arithmetic import above, root_above
from models.audit.node import Node, flat
from models.audit.operators.elementwise import library
from models.audit.operators.windows import Windows, windows_of
from models.audit.step import Loss, Step

LARGE = 2.0**125


def pool(node: Node) -> list[Step]:
    """MaxPool, AveragePool, and LpPool with p = 2."""
    _, *sides = node.shape()
    ceil = bool(node.attributes.get("ceil_mode", 0))
    inside = bool(node.attributes.get("count_include_pad", 0))
    kernel = tuple(int(side) for side in node.attributes["kernel_shape"])
    if not sides or (ceil and (inside or node.kind == "LpPool")):
        raise node.refuse("ceil_mode of that form, which runtimes read in two ways,")
    windows = windows_of(node, tuple(sides), kernel, ceil=ceil).apart()
    filled = [along.filled() for along in windows]
    if not min(row.min() for row in filled) > 0 or node.attributes.get("p", 2) != 2:
        raise node.refuse("a window of padding only, or another norm,")
    if any(name for name in node.outputs[1:]):
        raise node.refuse("an output of places")
    size = math.prod(kernel)
    most = root_above(math.prod(along.most_readers() for along in windows))
    if node.kind == "MaxPool":
        return [node.step(lambda x: _pooled(x, windows, _largest), prove=lambda: most)]
    if node.kind == "LpPool":
        return [
            node.step(
                lambda x: np.sqrt(_pooled(np.square(x), windows, _total)),
                prove=lambda: most,
                rounds=lambda: library("LpPool", terms=size, absolute=max(1.0, most)),
            )
        ]
    divisors = [
        np.full_like(row, taps) if inside else row for row, taps in zip(filled, kernel, strict=True)
    ]
    shares = [
        _share(along, row, 1 / by) for along, row, by in zip(windows, filled, divisors, strict=True)
    ]
    share = math.prod(rows for rows, _ in shares), math.prod(columns for _, columns in shares)
    full = reduce(np.multiply.outer, divisors)
    return [_average(node, lambda x: _pooled(x, windows, _total) / full, share, size)]


Chosen = Callable[[Windows, np.ndarray], np.ndarray]


def _pooled(x: np.ndarray, windows: Sequence[Windows], chosen: Chosen) -> np.ndarray:
    """What is left of windows, axis by axis."""
    for at, along in enumerate(windows, start=x.ndim - len(windows)):
        x = np.moveaxis(chosen(along, np.moveaxis(x, at, -1)), -1, at)
    return x


def _largest(windows: Windows, x: np.ndarray) -> np.ndarray:
    return reduce(np.maximum, windows.read(x, fill=-math.inf))


def _total(windows: Windows, x: np.ndarray) -> np.ndarray:
    return reduce(np.add, windows.read(x))


def reduction(node: Node) -> list[Step]:
    """ReduceMax, ReduceMin, ReduceMean, ReduceSum, ReduceL2, GlobalMaxPool, GlobalAveragePool."""
    shape = node.shape()
    if node.kind.startswith("Global"):
        axes, keep = list(range(2, len(shape) + 1)), True
    else:
        told = node.whole(1) if node.given(1) else list(node.attributes.get("axes", ()))
        axes = [node.axis(int(axis)) for axis in told]
        keep = bool(node.attributes.get("keepdims", 1))
    if not axes or len(set(axes)) != len(axes):
        raise node.refuse("no axes, or one twice,")
    along = tuple(axes)
    terms = flat(tuple(shape[axis - 1] for axis in axes))

    def reduced(way: Callable[..., np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: np.asarray(way(x, axis=along, keepdims=keep))

    facts = {"axes": along, "terms": terms}
    match node.kind:
        case "ReduceMax" | "GlobalMaxPool":
            return [node.step(reduced(np.max), facts=facts | {"extreme": "Max"})]
        case "ReduceMin":
            return [node.step(reduced(np.min), facts=facts | {"extreme": "Min"})]
        case "ReduceL2":
            return [
                node.step(
                    lambda x: np.sqrt(np.square(x).sum(axis=along, keepdims=keep)),
                    rounds=lambda: library("ReduceL2", terms=terms),
                )
            ]
        case "ReduceSum":
            return [_average(node, reduced(np.sum), (float(terms), 1.0), terms, facts)]
    return [_average(node, reduced(np.mean), (1.0, 1 / terms), terms, facts | {"mean": True})]


def _share(windows: Windows, filled: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Largest row and column sum of windows along an axis that weigh their entries so."""
    return min(float((filled * weights).max()), 1.0), float(windows.written(weights).max())


def _average(
    node: Node,
    run: Callable[..., np.ndarray],
    share: tuple[float, float],
    terms: int,
    facts: dict[str, object] | None = None,
) -> Step:
    """A sum with positive weights, which may be divided at the end."""
    rows, columns = share
    factor = above(math.sqrt(rows * columns), terms + 4)
    loss = Loss(
        roundings=terms + 2,
        absolute=factor,
        terms=terms,
        longest=LARGE / math.sqrt(terms),
    )
    known = {"column": above(columns, terms + 4), "terms": terms} | (facts or {})
    return node.step(run, prove=lambda: factor, rounds=lambda: loss, facts=known)


def top_k(node: Node) -> list[Step]:
    """The first entries of a sorted axis: sorting brings no two vectors apart."""
    shape = node.shape()
    axis, kept = node.axis(int(node.attributes.get("axis", -1))), node.whole(1)
    in_order = bool(node.attributes.get("sorted", 1))
    if len(kept) != 1 or not 1 <= kept[0] <= shape[axis - 1] or not in_order:
        raise node.refuse(f"the first {kept} of {shape[axis - 1]}, or not in order,")
    if node.outputs[0] == "":
        raise node.refuse("places without values")
    sign = -1 if node.attributes.get("largest", 1) else 1

    def run(x: np.ndarray) -> np.ndarray:
        return sign * np.take(np.sort(sign * x, axis=axis), range(kept[0]), axis=axis)

    return [node.step(run)]
