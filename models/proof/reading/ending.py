"""Softmax, LogSoftmax and ArgMax at the end of a file: the certificate is made on what they read.

None of them changes which class is largest, in exact arithmetic.
"""

import onnx
from onnx import helper

from models.errors import ModelError

KEEP_THE_LARGEST = ("Softmax", "LogSoftmax", "ArgMax")


def without_ending(graph: onnx.GraphProto, output: str) -> tuple[str, tuple[onnx.NodeProto, ...]]:
    """The tensor that holds the logits, and the nodes between it and the output, the last first."""
    maker = {name: node for node in graph.node for name in node.output}
    ending = []
    while output in maker and maker[output].op_type in KEEP_THE_LARGEST:
        node = maker[output]
        if node.domain not in ("", "ai.onnx") or len(node.input) != 1 or node in ending:
            break
        ending.append(node)
        output = node.input[0]
    return str(output), tuple(ending)


def check_ending(ending: tuple[onnx.NodeProto, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    """Kinds of the nodes behind the logits.

    Args:
        ending: as `without_ending` gave them.
        shape: of the logits of one example.

    Raises:
        ModelError: If one works along another axis than the classes.
    """
    for node in ending:
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        axis = attributes.get("axis", 0 if node.op_type == "ArgMax" else -1)
        if len(shape) != 1 or axis not in (1, -1):
            raise ModelError(
                f"{node.name or node.output[0]} ({node.op_type}): found axis {axis} for logits of "
                f"shape {list(shape)}; accepted is the axis of the classes, the last of two"
            )
    return tuple(node.op_type for node in reversed(ending))
