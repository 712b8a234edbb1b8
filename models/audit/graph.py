"""The audit's own reader of ONNX: the steps that the logits depend on, with the stored weights.

Weights are float32 initialisers or Constant nodes, moved and never computed.  What is not in
`operators.table` is refused by name, and so are steps that have no bound outside a group.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from models.audit.folding import folded
from models.audit.groups.catalogue import GROUPS
from models.audit.groups.wiring import Wiring, overlaid
from models.audit.node import MOST_ENTRIES, Node, stored
from models.audit.onnx_file import parsed
from models.audit.operators.picking import Group, as_one, picking
from models.audit.operators.table import OPERATORS
from models.audit.step import Step
from models.errors import VerificationError, first_line

OPSETS = range(13, 24)
LOGITS = "logits"
MOST_IN_ALL = 2**27
"""Entries of all tensors of an image together."""
MOST_CLASSES = 2**12


@dataclass(frozen=True)
class Graph:
    """Steps from the image to the logits, and every initialiser of the file by name.

    Attributes:
        source: name of the input.
        shape: of one image.
        steps: operators and groups, in order.
        parts: names of all operators, those inside groups too.
    """

    source: str
    shape: tuple[int, ...]
    steps: tuple[Step, ...]
    initialisers: dict[str, np.ndarray]
    outputs: tuple[str, ...]
    parts: frozenset[str] = frozenset()

    @cached_property
    def size(self) -> int:
        """Entries of one image."""
        return math.prod(self.shape)

    @cached_property
    def head(self) -> Step | None:
        """The matrix that makes the logits, where the last step is one."""
        return self.steps[-1] if "rows" in self.steps[-1].facts else None


def read_graph(content: bytes) -> Graph:
    """Read the steps behind the output `logits`.

    Raises:
        VerificationError: If the file is no model, or holds an operator that is not known here.
    """
    graph = _parsed(content)
    weights = _initialisers(graph)
    given = graph.input[0].type.tensor_type
    batch, *sides = given.shape.dim
    shape = tuple(side.dim_value for side in sides)
    if given.elem_type != onnx.TensorProto.FLOAT or batch.HasField("dim_value"):
        raise VerificationError("operators: model.onnx takes no batch of float32 images")
    if not shape or min(shape) < 1 or math.prod(shape) > MOST_ENTRIES:
        raise VerificationError("operators: model.onnx has an input of no known or fitting shape")
    source = graph.input[0].name
    constants, steps, shapes = dict(weights), [], {source: shape}
    entries = math.prod(shape)
    groups = picking(graph.node)
    for proto in _needed(graph, groups):
        node = _node(proto, constants, shapes)
        if proto.output[0] in groups:
            node = as_one(node, groups[proto.output[0]])
        for step in _steps(node):
            steps.append(step)
            shapes[step.result] = step.shape
            entries += math.prod(step.shape)
        if entries > MOST_IN_ALL:
            raise VerificationError(f"operators: the tensors of an image hold {entries} entries")
    if len(shapes.get(LOGITS, ())) != 1 or not 2 <= shapes[LOGITS][0] <= MOST_CLASSES:
        raise VerificationError(f"operators: the logits are no row of 2 to {MOST_CLASSES} numbers")
    wiring = Wiring(source, shape, tuple(steps))
    outputs = tuple(value.name for value in graph.output)
    parts = frozenset(step.name for step in steps)
    return Graph(source, shape, overlaid(wiring, LOGITS, GROUPS), weights, outputs, parts)


def _parsed(content: bytes) -> onnx.GraphProto:
    model = parsed(content)
    graph = model.graph
    if len(graph.input) != 1 or model.functions or graph.sparse_initializer:
        raise VerificationError("operators: model.onnx has functions or not one input")
    opsets = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if len(opsets) != 1 or opsets[0] not in OPSETS:
        raise VerificationError(f"operators: model.onnx has opset {opsets}; known are 13 to 23")
    names = (name for node in graph.node for name in (node.name, *node.input, *node.output))
    if not all(name.isprintable() for name in names):
        raise VerificationError("operators: model.onnx holds a name that is not printable")
    if graph.input[0].name in {tensor.name for tensor in graph.initializer}:
        raise VerificationError("operators: the input of model.onnx is stored in it, too")
    return graph


def _initialisers(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise VerificationError(f"operators: {tensor.name} lies in another file")
    try:
        return {
            tensor.name: stored(numpy_helper.to_array(tensor), tensor.name)
            for tensor in graph.initializer
        }
    except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as fault:
        raise VerificationError(
            f"operators: a weight cannot be read ({first_line(fault)})"
        ) from None


def _needed(graph: onnx.GraphProto, groups: Mapping[str, Group]) -> list[onnx.NodeProto]:
    """Nodes that the logits depend on, in the file's order; of a group its last one alone."""
    wanted, kept = {LOGITS}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            group = groups.get(node.output[0])
            wanted.update((group[0].input[0], group[1].input[1]) if group else node.input)
            kept.append(node)
    if not kept:
        raise VerificationError("operators: nothing in model.onnx makes the output logits")
    return kept[::-1]


def _node(
    proto: onnx.NodeProto, constants: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]
) -> Node:
    return Node(
        name=proto.name or proto.output[0],
        kind=proto.op_type
        if proto.domain in ("", "ai.onnx")
        else f"{proto.domain}.{proto.op_type}",
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=_attributes(proto),
        constants=constants,
        shapes=shapes,
    )


def _attributes(proto: onnx.NodeProto) -> dict[str, Any]:
    try:
        return {each.name: helper.get_attribute_value(each) for each in proto.attribute}
    except ValueError as fault:
        name = proto.name or proto.output[0]
        raise VerificationError(f"operators: {name}: {first_line(fault)}") from None


def _steps(node: Node) -> list[Step]:
    """The steps that a node becomes; none where the file fixes what it makes."""
    try:
        fixed = folded(node)
        if fixed is not None:
            node.constants[node.outputs[0]] = fixed
            return []
        if node.kind not in OPERATORS:
            raise VerificationError(
                f"operators: {node.name} ({node.kind}) is unknown here; known are "
                f"{', '.join(OPERATORS)}"
            )
        return OPERATORS[node.kind](node)
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as fault:
        raise node.refuse(f"a form that makes no sense ({fault})") from None
