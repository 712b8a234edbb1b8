"""The audit's own reader of ONNX: the steps that the logits depend on, with the stored weights.

It knows few operators and refuses every other by name.  Weights are float32 initialisers or
Constant nodes; nothing is computed from them.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from models.errors import VerificationError

DENSE = ("Gemm", "MatMul")
CONSTANT_OR_BRANCHES = ("Add", "Sub")
SCALES = ("Mul", "Div")
ACTIVATIONS = ("Relu", "Abs", "Neg", "LeakyRelu", "PRelu")
MOVES = ("Reshape", "Flatten", "Transpose", "Identity", "Split")
JOINS = ("Concat", "Sum")
KNOWN = (*DENSE, *CONSTANT_OR_BRANCHES, *SCALES, *ACTIVATIONS, *MOVES, *JOINS)


@dataclass(frozen=True)
class Step:
    """One operator: the activations it reads, in order, and the constants beside them.

    Attributes:
        inputs: names in the file's order; a constant's place is in `constants` too.
        constants: place of an input to its values.
        part: which output of a Split, from 0.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    result: str
    constants: dict[int, np.ndarray]
    attributes: dict[str, Any] = field(default_factory=dict)
    part: int = 0

    @property
    def operands(self) -> tuple[str, ...]:
        """The inputs that depend on the image."""
        return tuple(x for at, x in enumerate(self.inputs) if x and at not in self.constants)

    def refuse(self, found: str) -> VerificationError:
        """An error that names this step."""
        return VerificationError(f"operators: {self.name} ({self.kind}): {found} is not known here")


@dataclass(frozen=True)
class Graph:
    """Steps from the image to the logits, and every initialiser of the file by name."""

    source: str
    shape: tuple[int, ...]
    steps: tuple[Step, ...]
    initialisers: dict[str, np.ndarray]
    outputs: tuple[str, ...]


def read_graph(content: bytes) -> Graph:
    """Read the steps behind the output `logits`.

    Raises:
        VerificationError: If the file is no model, or holds an operator that is not known here.
    """
    try:
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model)
    except Exception as fault:  # protobuf and the checker have no common root
        reason = str(fault).partition("\n")[0]
        raise VerificationError(f"operators: model.onnx is no valid ONNX: {reason}") from None
    graph = model.graph
    if len(graph.input) != 1 or model.functions:
        raise VerificationError("operators: model.onnx has functions or not one input")
    stored = _initialisers(graph)
    constants, steps = dict(stored), []
    for node in _needed(graph):
        values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        name = node.name or node.output[0]
        if node.op_type == "Constant" and set(values) == {"value"}:
            constants[node.output[0]] = numpy_helper.to_array(values["value"])
            continue
        if node.domain not in ("", "ai.onnx") or node.op_type not in KNOWN:
            raise VerificationError(
                f"operators: {name} ({node.op_type}) is unknown here; known are {', '.join(KNOWN)}"
            )
        held = {at: constants[x] for at, x in enumerate(node.input) if x in constants}
        for part, result in enumerate(node.output):
            label = f"{name}[{part}]" if node.op_type == "Split" else name
            inputs = tuple(node.input)
            steps.append(Step(label, node.op_type, inputs, result, held, values, part))
    sides = graph.input[0].type.tensor_type.shape.dim[1:]
    shape = tuple(side.dim_value for side in sides)
    outputs = tuple(value.name for value in graph.output)
    return Graph(graph.input[0].name, shape, _live(steps), stored, outputs)


def _initialisers(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise VerificationError(f"operators: {tensor.name} lies in another file")
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Nodes that the logits depend on, in the file's order."""
    wanted, kept = {"logits"}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    if not kept:
        raise VerificationError("operators: nothing in model.onnx makes the output logits")
    return kept[::-1]


def _live(steps: list[Step]) -> tuple[Step, ...]:
    """Steps that the logits depend on: some parts of a Split may lead nowhere."""
    wanted, kept = {"logits"}, []
    for step in reversed(steps):
        if step.result in wanted:
            wanted.update(step.operands)
            kept.append(step)
    return tuple(reversed(kept))
