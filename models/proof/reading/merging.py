"""Groups of nodes that are one function, made one node before they are read.

Exporters write x σ(x), x (1 + erf(x / √2)) / 2 and others as products of activations, which have no
bound one by one, and entries picked by their places with the batch moved away and back.  A group
that is recognised becomes one node, of a kind that no file can hold where ONNX has none; nodes that
nothing reads any more are left out, and those that another node reads have to stand by themselves.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from models.errors import ModelError, first_line
from models.proof.reading.gates import Function, gated
from models.proof.reading.multiples import Graph

ULPS = 2.0**-50
"""How far a product of a number and its inverse may be from 1: each of both is rounded."""


def merged(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, np.ndarray], output: str
) -> list[onnx.NodeProto]:
    """Nodes with groups made one, in order.

    Args:
        nodes: that the output depends on.
        constants: of the file.
        output: what is wanted of them.

    Raises:
        ModelError: If a node lacks what its operator needs.
    """
    graph, joined = Graph(constants), []
    for node in nodes:
        kept = _joined_safely(graph, node)
        joined.append(kept)
        graph.maker.update({name: kept for name in kept.output if name})
    needed, wanted = [], {output}
    for node in reversed(joined):
        if wanted & set(node.output):
            needed.append(node)
            wanted.update(node.input)
    return needed[::-1]


def _joined_safely(graph: Graph, node: onnx.NodeProto) -> onnx.NodeProto:
    """The node that a group ending in `node` becomes, or `node`."""
    if node.domain or not node.output:
        return node
    try:
        if node.op_type == "Transpose":
            return _indexing(graph, node) or node
        recognise = _FUNCTIONS.get(node.op_type)
        found = recognise(graph, node) if recognise else None
    except (ArithmeticError, LookupError, TypeError, ValueError) as fault:
        name = node.name or node.output[0]
        raise ModelError(f"{name} ({node.op_type}): {first_line(fault)}") from None
    if found is None or not np.isfinite(found[2]).all():
        return node
    kind, source, parameters = found
    told = {}
    if parameters:
        told["parameters"] = numpy_helper.from_array(np.array(parameters, dtype=np.float64))
    return helper.make_node(kind, [source], node.output[:1], name=node.name, **told)


def _indexing(graph: Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """x[:, i, j]: axes moved to the front, GatherND, and the batch moved back there."""
    picked = graph.made_by("GatherND", node.input[0])
    before = graph.made_by("Transpose", picked.input[0]) if picked else None
    if picked is None or before is None:
        return None
    orders = {
        role: list(helper.get_attribute_value(entry))
        for role, owner in (("before", before), ("after", node))
        for entry in owner.attribute
        if entry.name == "perm"
    }
    dims = [helper.get_attribute_value(entry) for entry in picked.attribute]
    if len(orders) < 2 or any(dims):
        return None
    inputs = [before.input[0], picked.input[1]]
    return helper.make_node("Index", inputs, node.output[:1], name=node.name, **orders)


def _softsign(graph: Graph, node: onnx.NodeProto) -> Function | None:
    """The softsign x / (1 + |x|)."""
    one = graph.beside_number("Add", node.input[1])
    size = graph.made_by("Abs", one[0]) if one and one[1] == 1 else None
    fits = size is not None and size.input[0] == node.input[0]
    return ("Softsign", node.input[0], ()) if fits else None


def _log_sigmoid(graph: Graph, node: onnx.NodeProto) -> Function | None:
    """log(σ(x))."""
    inner = graph.made_by("Sigmoid", node.input[0])
    return ("LogSigmoid", inner.input[0], ()) if inner else None


def _threshold_softplus(graph: Graph, node: onnx.NodeProto) -> Function | None:
    """The operand x where b x > t, and log(1 + exp(b x)) / b elsewhere."""
    condition, source, otherwise = node.input
    above = graph.made_by("Greater", condition)
    threshold = graph.number(above.input[1]) if above else None
    for soft, factor in graph.multiples(otherwise):
        softplus = graph.made_by("Softplus", soft)
        if softplus is None or above is None or threshold is None:
            continue
        steepness = graph.multiple_of(source, softplus.input[0])
        if steepness and steepness > 0 and softplus.input[0] == above.input[0]:
            agrees = abs(factor * steepness - 1) <= ULPS
            return ("ThresholdSoftplus", source, (steepness, threshold)) if agrees else None
    return None


_FUNCTIONS: dict[str, Callable[[Graph, onnx.NodeProto], Function | None]] = {
    "Mul": gated,
    "Div": _softsign,
    "Log": _log_sigmoid,
    "Where": _threshold_softplus,
}
