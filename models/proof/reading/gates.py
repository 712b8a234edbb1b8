"""Products c x g(x) whose gate g is a sigmoid, an error function or a tanh, hard or soft.

The same function comes in many spellings: factors before, behind and inside, operands in either
order.  Factors are collected, so that one kind with numbers of its own stands for all of them.
"""

from collections.abc import Callable

import numpy as np
import onnx

from models.proof.operators.smooth import CUBIC
from models.proof.reading.multiples import Graph

Function = tuple[str, str, tuple[float, ...]]
"""Kind of an operator, what it reads, and its numbers."""


def gated(graph: Graph, node: onnx.NodeProto) -> Function | None:
    """C x g(x): the gate g is a sigmoid, an error function or a tanh, hard or soft."""
    if len(node.input) != 2:
        return None
    for factor, gate in (tuple(node.input), tuple(reversed(node.input))):
        for inner, times in graph.multiples(gate):
            for recognise in _GATES:
                found = recognise(graph, factor, inner)
                if found is not None:
                    kind, source, (first, *rest) = found
                    return kind, source, (first * times, *rest)
    return None


def _silu(graph: Graph, factor: str, gate: str) -> Function | None:
    node = graph.made_by("Sigmoid", gate)
    found = node and graph.together(factor, node.input[0])
    return ("Silu", found[0], found[1:]) if found else None


def _mish(graph: Graph, factor: str, gate: str) -> Function | None:
    node = graph.made_by("Tanh", gate)
    node = node and graph.made_by("Softplus", node.input[0])
    times = graph.multiple_of(node.input[0], factor) if node else None
    return None if node is None or times is None else ("Mish", node.input[0], (times,))


def _gelu(graph: Graph, factor: str, gate: str) -> Function | None:
    one = graph.beside_number("Add", gate)
    if one is None or one[1] != 1:
        return None
    node = graph.made_by("Erf", one[0])
    if node is not None:
        found = graph.together(factor, node.input[0])
        return ("Gelu", found[0], found[1:]) if found else None
    return _gelu_of_tanh(graph, factor, one[0])


def _gelu_of_tanh(graph: Graph, factor: str, gate: str) -> Function | None:
    """C x (1 + tanh(s x + q x³)) with q/s³ close to the usual one."""
    node = graph.made_by("Tanh", gate)
    for inner, scale in graph.multiples(node.input[0]) if node else ():
        total = graph.made_by("Add", inner)
        for plain, cubic in (total.input, reversed(total.input)) if total else ():
            for cube, weight in graph.multiples(cubic):
                source = _cubed(graph, cube)
                times = None if source is None else graph.multiple_of(source, factor)
                slope = None if source is None else graph.multiple_of(source, plain)
                if source is None or times is None or slope is None:
                    continue
                s, q = scale * slope, scale * weight
                if s > 0 and CUBIC[0] <= q / s**3 <= CUBIC[1]:
                    return "GeluTanh", source, (times, s, q)
    return None


def _cubed(graph: Graph, name: str) -> str | None:
    """x, where a tensor is x³: a power, or two products."""
    power = graph.made_by("Pow", name)
    if power is not None:
        return power.input[0] if graph.number(power.input[1]) == 3 else None
    outer = graph.made_by("Mul", name)
    for source, square in (outer.input, reversed(outer.input)) if outer else ():
        inner = graph.made_by("Mul", square)
        squared = graph.made_by("Pow", square)
        if inner is not None and list(inner.input) == [source, source]:
            return str(source)
        if squared is not None and squared.input[0] == source:
            return str(source) if graph.number(squared.input[1]) == 2 else None
    return None


def _hard_swish(graph: Graph, factor: str, gate: str) -> Function | None:
    """The gate is a HardSigmoid, or a Clip from 0 to m of x + b."""
    node = graph.made_by("HardSigmoid", gate)
    if node is not None:
        told = {entry.name: float(entry.f) for entry in node.attribute}
        times = graph.multiple_of(node.input[0], factor)
        numbers = told.get("alpha", float(np.float32(0.2))), told.get("beta", 0.5)
        return None if times is None else ("HardSwish", node.input[0], (times, *numbers))
    node = graph.made_by("Clip", gate)
    if node is None or len(node.input) != 3 or graph.number(node.input[1]) != 0:
        return None
    most, moved = graph.number(node.input[2]), graph.beside_number("Add", node.input[0])
    times = graph.multiple_of(moved[0], factor) if moved else None
    if moved is None or times is None or most is None or most <= 0:
        return None
    return "HardSwish", moved[0], (times * most, 1 / most, moved[1] / most)


_GATES: tuple[Callable[[Graph, str, str], Function | None], ...] = (
    _silu,
    _mish,
    _gelu,
    _hard_swish,
)
