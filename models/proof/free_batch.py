"""A file for batches of one length made one for batches of any: the same function of each example.

Only nodes that state the batch's length are changed, so that they leave it as it is.  What they
make of an example is taken from the program that was read of the file.  None of this needs trust:
the result is read again, and must hold the program of the original.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from models.errors import ModelError
from models.proof.program import Program
from models.proof.reading.interface import input_of

AXES_OF_RESIZE = 18
"""The first opset in which Resize may leave an axis out."""


def with_free_batch(model: bytes, program: Program) -> bytes:
    """The file, for batches of any length.

    Args:
        model: a file that `read_program` accepts.
        program: what it gave.

    Raises:
        ModelError: If a node of the file can state no shape without the batch.
    """
    parsed = onnx.load_from_string(model)
    graph = parsed.graph
    if input_of(graph).batch is None:
        return model
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    batch.Clear()
    batch.dim_param = "batch"
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    opset = max(entry.version for entry in parsed.opset_import if entry.domain in ("", "ai.onnx"))
    shapes = program.wiring.shapes
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    for node in graph.node:
        if not node.output or node.output[0] not in shapes or node.domain not in ("", "ai.onnx"):
            continue
        stated = _stated(node, shapes[node.output[0]], opset=opset)
        if stated is None:
            continue
        place, row = stated
        name = f"{node.output[0]}/shape"
        while name in taken:
            name += "_"
        taken.add(name)
        node.input[place] = name
        graph.initializer.append(numpy_helper.from_array(np.array(row, dtype=np.int64), name))
    return bytes(parsed.SerializeToString(deterministic=True))


def _stated(
    node: onnx.NodeProto, shape: tuple[int, ...], *, opset: int
) -> tuple[int, tuple[int, ...]] | None:
    """Which operand states a node's shape, and what it states where the batch is left alone.

    Args:
        node: changed where an attribute has a say, too.
        shape: of its result for one example.
        opset: of the file.
    """
    match node.op_type:
        case "Reshape":
            _drop(node, "allowzero")
            return 1, (0, *shape)
        case "Expand":
            return 1, (1, *shape)
        case "Resize" if len(node.input) > 3 and not _has(node, "axes"):
            if opset < AXES_OF_RESIZE:
                raise ModelError(
                    f"{node.name or node.output[0]} (Resize): found sizes for a batch of fixed "
                    f"length; accepted are scales, or opset {AXES_OF_RESIZE} or newer"
                )
            node.attribute.append(onnx.helper.make_attribute("axes", range(1, len(shape) + 1)))
            return 3, shape
    return None


def _has(node: onnx.NodeProto, name: str) -> bool:
    return any(entry.name == name for entry in node.attribute)


def _drop(node: onnx.NodeProto, name: str) -> None:
    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
