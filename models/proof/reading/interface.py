"""What a file takes, gives and stores: its one input, the output that answers, its weights."""

import math
from dataclasses import dataclass

import numpy as np
import onnx

from models.errors import ModelError
from models.proof.reading.checks import check_size
from models.proof.reading.node import stored_array

LOGITS = "logits"


@dataclass(frozen=True)
class Input:
    """The one float32 input of a file.

    Attributes:
        name: of its tensor.
        shape: of one example.
        batch: how many examples the file takes at once; None where any number.
    """

    name: str
    shape: tuple[int, ...]
    batch: int | None


def input_of(graph: onnx.GraphProto) -> Input:
    """The one float32 input.

    Raises:
        ModelError: If there are others, or its shape or type is not fixed.
    """
    stored = {tensor.name for tensor in graph.initializer}
    overridable = [value.name for value in graph.input if value.name in stored]
    if overridable:
        raise ModelError(
            f"weights {', '.join(overridable)} are also inputs, so a caller may override them; "
            "accepted are weights that are initializers alone"
        )
    if len(graph.input) != 1:
        names = ", ".join(value.name for value in graph.input) or "none"
        raise ModelError(f"the file has the inputs {names}; accepted is exactly one")
    tensor = graph.input[0].type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kinds = {number: name for name, number in onnx.TensorProto.DataType.items()}
        kind = kinds.get(tensor.elem_type, f"number {tensor.elem_type}")
        raise ModelError(f"the input has type {kind}; accepted is FLOAT (float32)")
    shape = tuple(axis.dim_value for axis in tensor.shape.dim[1:])
    if not shape or any(side < 1 for side in shape):
        raise ModelError(
            f"the input has shape [{', '.join(_told(axis) for axis in tensor.shape.dim[1:])}] for "
            "one example; accepted are axes of known, positive length behind the batch"
        )
    first = tensor.shape.dim[0]
    batch = int(first.dim_value) if first.HasField("dim_value") else None
    if batch is not None and batch < 1:
        raise ModelError(
            f"the input's batch has the fixed length {batch}; accepted is 1 or more, or a batch "
            "of any length"
        )
    check_size(math.prod(shape) * (batch or 1))
    return Input(str(graph.input[0].name), shape, batch)


def _told(axis: onnx.TensorShapeProto.Dimension) -> str:
    """The length of an axis as the file has it: a number, a name, or neither."""
    return str(axis.dim_value) if axis.HasField("dim_value") else axis.dim_param or "?"


def output_of(graph: onnx.GraphProto) -> str:
    """The output that holds the logits, or what the file makes of them."""
    names = [value.name for value in graph.output]
    if len(names) == 1:
        return str(names[0])
    if LOGITS in names:
        return LOGITS
    raise ModelError(
        f"the file has the outputs {', '.join(names) or 'none'}; accepted is one, "
        f"or one of them named {LOGITS!r}"
    )


def constants_of(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Initializers by name."""
    if graph.sparse_initializer:
        raise ModelError("the file holds sparse weights; accepted are dense ones")
    constants = {}
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelError(
                f"weight {tensor.name} lies in another file; accepted are weights inside the model"
            )
        constants[tensor.name] = stored_array(tensor, owner=f"weight {tensor.name}")
    return constants
