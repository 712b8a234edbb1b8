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

import numpy as np
import onnx
from onnx import TensorProto, checker, helper, numpy_helper

from models.proof.bounds import Bounds
from models.proof.upward import FLOAT32, up

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
    """
    sealed = onnx.load_from_string(model)
    graph = sealed.graph
    source, logits = graph.input[0].name, graph.output[0].name
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param or "batch"
    add = _Builder(graph)

    label = add("ArgMax", logits, result="label", axis=1, keepdims=0)
    best = add("ReduceMax", logits, add.integers("class_axis", [1]), keepdims=1)
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
    checker.check_model(sealed, full_check=True)
    return bytes(sealed.SerializeToString(deterministic=True))


class _Builder:
    """Appends nodes and tables to a graph under names that cannot meet the file's own."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._made = 0

    def __call__(self, kind: str, *operands: str, result: str = "", **attributes: int) -> str:
        name = result or f"{PREFIX}{kind}_{self._made}"
        self._made += 1
        node_name = PREFIX + (result or name.removeprefix(PREFIX))
        node = helper.make_node(kind, list(operands), [name], name=node_name, **attributes)
        self._graph.node.append(node)
        return name

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
    """Smallest of the rivals' radii, in [0, √d]; 0 for NaN and outside the domain."""
    zero = add.table(f"{result}_zero", np.array(0))
    positive = add("Greater", by_rival, zero)  # false for NaN
    kept = add("Add", add("Where", positive, by_rival, zero), own)
    axis = add.integers(f"{result}_axis", [1])
    least = add("ReduceMin", kept, axis, keepdims=0)
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
    return np.asarray(np.nextafter(inflated.astype(np.float32), np.float32(np.inf)))
