"""The shipped graph: the certified program, with its label and radii as outputs.

`radius` is min over rivals of (z_c - z_j) / L_cj, computed in float32 and lowered by a measured
slack: it repeats the table of certificates and never exceeds it on the examples it was sealed
with.  `radius_float32` is proven for every image in [0, 1] and every float32 runtime that computes
operator by operator: with g = 1 - 2⁻²⁰,

    radius_float32 = g · max(0, min over j of ((g (z_c - z_j) - A′_cj) - B′_cj ‖x‖) / C′_cj)

where A′, B′, C′ are the proven tables, inflated for the roundings of this very formula: the five
of the numerator are together below 6 u (z_c - z_j), g leaves 16 u, and the outer g pays for the
division.  An image outside [0, 1], a NaN and a tie have radius 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.errors import ModelError
from models.proof.bounds import Bounds
from models.proof.reading.checks import check_structure
from models.proof.upward import FLOAT32, up

OUTPUTS = ("label", "radius", "radius_float32")
SMALLEST = np.float32(FLOAT32.smallest)
"""No positive bound in the file is smaller, so that none is flushed to 0."""
STANDARD = ("", "ai.onnx")
REDUCE_BY_OPERAND = 18
"""From this opset on, ReduceMax and ReduceMin read their axes from an operand."""
G = np.float32(1 - 2.0**-20)
PREFIX = "certificate/"


@dataclass(frozen=True)
class Tables:
    """What the formula reads for each pair of classes, in float32, rounded up."""

    constant: np.ndarray
    slope: np.ndarray
    pair_bounds: np.ndarray


def seal_graph(model: bytes, bounds: Bounds, *, slack: float, metadata: Mapping[str, str]) -> bytes:
    """Add the outputs `label`, `radius` and, where it is covered, `radius_float32`.

    Args:
        model: the ONNX file that was bounded, with one output `logits`.
        bounds: what was proved of it.
        slack: what `radius` is lowered by, in input units.
        metadata: written into the file's metadata_props, beside nothing else.

    Returns:
        A file that holds the same program and nothing of the place it was made in.

    Raises:
        ModelError: If the file has other outputs, or tensors of the names that are added.
    """
    sealed = onnx.load_from_string(model)
    graph = sealed.graph
    _check_room(graph)
    source, logits = graph.input[0].name, graph.output[0].name
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param or "batch"
    opset = next(entry.version for entry in sealed.opset_import if entry.domain in STANDARD)
    add = _Builder(graph, opset=opset)

    label = add("ArgMax", logits, result="label", axis=1, keepdims=0)
    best = add.over_classes("ReduceMax", logits, keepdims=1)
    gaps = add("Sub", best, logits)
    inside = _inside_domain(add, source, rank=len(graph.input[0].type.tensor_type.shape.dim))
    own = add("Gather", add.table("own", _own_table(bounds)), label, axis=0)

    tables = _radius_tables(bounds)
    quotient = add("Div", gaps, add("Gather", add.table("L", tables.pair_bounds), label, axis=0))
    lowered = add("Sub", quotient, add.table("slack", _float32_up(np.array(slack))))
    _radius(add, lowered, own=own, inside=inside, bounds=bounds, result="radius")
    outputs = ["radius"]
    if bounds.float32 is not None:
        tables = _float32_tables(bounds)
        norm = add("Sqrt", _sum_of_squares(add, source))
        A, B, C = (
            add("Gather", add.table(name, table), label, axis=0)
            for name, table in (
                ("A", tables.constant),
                ("B", tables.slope),
                ("C", tables.pair_bounds),
            )
        )
        g = add.table("g", np.array(G))
        left = add("Sub", add("Sub", add("Mul", gaps, g), A), add("Mul", B, norm))
        scaled = add("Mul", add("Div", left, C), g)
        _radius(add, scaled, own=own, inside=inside, bounds=bounds, result="radius_float32")
        outputs.append("radius_float32")

    graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, [batch]))
    for name in outputs:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch]))
    del sealed.metadata_props[:]
    helper.set_model_props(sealed, dict(sorted(metadata.items())))
    content = bytes(sealed.SerializeToString(deterministic=True))
    check_structure(content, shapes=True)
    return content


def _check_room(graph: onnx.GraphProto) -> None:
    """Refuse a graph whose logits are not its only output, or whose names meet those added."""
    outputs = [value.name for value in graph.output]
    if outputs != ["logits"]:
        raise ModelError(
            f"the file has the outputs {', '.join(outputs)}; accepted for sealing is one, named "
            "'logits'"
        )
    taken = {tensor.name for tensor in graph.initializer}
    taken.update(name for node in graph.node for name in (node.name, *node.output))
    taken.update(value.name for value in graph.input)
    met = sorted(name for name in taken if name in OUTPUTS or name.startswith(PREFIX))
    if met:
        raise ModelError(
            f"the file has the names {', '.join(met)}, which sealing adds; accepted are others"
        )


class _Builder:
    """Appends nodes and tables to a graph under names that cannot meet the file's own."""

    def __init__(self, graph: onnx.GraphProto, *, opset: int) -> None:
        self._graph = graph
        self._opset = opset
        self._made = 0

    def __call__(self, kind: str, *operands: str, result: str = "", **attributes: Any) -> str:
        name = result or f"{PREFIX}{kind}_{self._made}"
        self._made += 1
        node_name = PREFIX + (result or name.removeprefix(PREFIX))
        node = helper.make_node(kind, list(operands), [name], name=node_name, **attributes)
        self._graph.node.append(node)
        return name

    def over_classes(self, kind: str, operand: str, *, keepdims: int) -> str:
        """ReduceMax or ReduceMin over the classes, as the file's opset writes it."""
        if self._opset < REDUCE_BY_OPERAND:
            return self(kind, operand, axes=[1], keepdims=keepdims)
        axis = self.integers(f"{kind}_axis_{self._made}", [1])
        return self(kind, operand, axis, keepdims=keepdims)

    def table(self, name: str, values: np.ndarray) -> str:
        """A float32 constant."""
        array = np.asarray(values, dtype=np.float32)
        self._graph.initializer.append(numpy_helper.from_array(array, PREFIX + name))
        return PREFIX + name

    def integers(self, name: str, values: list[int]) -> str:
        """An int64 constant."""
        array = np.array(values, dtype=np.int64)
        self._graph.initializer.append(numpy_helper.from_array(array, PREFIX + name))
        return PREFIX + name


def _radius(
    add: _Builder, by_rival: str, *, own: str, inside: str, bounds: Bounds, result: str
) -> None:
    """Smallest of the rivals' radii, in [0, √d]; 0 for NaN, infinity and outside the domain."""
    zero = add.table(f"{result}_zero", np.array(0))
    largest = add.table(f"{result}_largest", np.array(np.finfo(np.float32).max))
    finite = add("Less", by_rival, largest)  # logits that overflow have no finite gap
    positive = add("And", add("Greater", by_rival, zero), finite)  # false for NaN
    kept = add("Add", add("Where", positive, by_rival, zero), own)
    least = add.over_classes("ReduceMin", kept, keepdims=0)
    diameter = add.table(f"{result}_diameter", np.array(_diameter(bounds)))
    capped = add("Min", least, diameter)
    add("Where", inside, capped, zero, result=result)


def _inside_domain(add: _Builder, source: str, *, rank: int) -> str:
    """Whether every pixel of an example is in [0, 1]; false for NaN."""
    axes = add.integers("pixel_axes", list(range(1, rank)))
    zero, one = add.table("darkest", np.array(0)), add.table("brightest", np.array(1))
    outside = add("Abs", add("Sub", source, add("Clip", source, zero, one)))
    total = add("ReduceSum", outside, axes, keepdims=0)
    return add("Equal", total, zero)


def _sum_of_squares(add: _Builder, source: str) -> str:
    """Σ x² of an example, as a column."""
    flat = add("Flatten", source, axis=1)
    return add("ReduceSum", add("Mul", flat, flat), add.integers("flat_axis", [1]), keepdims=1)


def _radius_tables(bounds: Bounds) -> Tables:
    """L alone; pairs of equal rows count as far apart as float32 allows."""
    nothing = np.zeros_like(bounds.pair_bounds)
    return Tables(nothing, nothing, _divisors(bounds.pair_bounds))


def _float32_tables(bounds: Bounds) -> Tables:
    """A′, B′ and C′."""
    if bounds.float32 is None:
        raise ValueError("bounds without float32 rounding have no float32 tables")
    size, inflation = bounds.input_size, 1 + 2.0**-20
    norm_cost = 1 + FLOAT32.gamma(size + 4)
    flushed = math.sqrt(4 * size * FLOAT32.smallest)
    A, B = bounds.float32.constant, bounds.float32.slope
    return Tables(
        constant=_float32_up(2 * (A + B * flushed) * inflation),
        slope=_float32_up(2 * B * norm_cost * inflation),
        pair_bounds=_divisors(bounds.pair_bounds + B),
    )


def _divisors(pair_bounds: np.ndarray) -> np.ndarray:
    """Divisors rounded up, never so small that a quotient overflows; a larger one is safe."""
    return np.asarray(np.maximum(_float32_up(pair_bounds), np.float32(2.0**-60)))


def _own_table(bounds: Bounds) -> np.ndarray:
    """The diameter on the diagonal, so that a class is no rival of itself."""
    classes = len(bounds.pair_bounds)
    return np.eye(classes, dtype=np.float32) * np.float32(2 * _diameter(bounds))


def _diameter(bounds: Bounds) -> np.float32:
    """√d, rounded down."""
    return np.float32(np.nextafter(np.float32(math.sqrt(bounds.input_size)), np.float32(0)))


def _float32_up(values: np.ndarray) -> np.ndarray:
    """The next float32 above a bound and its few float64 roundings."""
    inflated = np.vectorize(lambda value: up(float(value), 8) if value else 0.0)(values)
    with np.errstate(over="ignore"):  # infinity is a legal bound
        above = np.nextafter(inflated.astype(np.float32), np.float32(np.inf))
    return np.asarray(np.where(inflated > 0, np.maximum(above, SMALLEST), np.float32(0)))
