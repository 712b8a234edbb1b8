"""What every file must pass before and after its nodes are read, whatever its operators.

Names decide what an operator reads, so a file whose names are ambiguous has no fixed function.
The rest is the ONNX checker's: each tensor made once, inputs, outputs and attributes of each
operator as its opset declares them, shapes and types that agree.
"""

from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError
from onnx import checker, shape_inference

from models.errors import ModelError, first_line

LARGEST_PROGRAM = 2**27
"""Entries of all tensors of one example together; 1 GiB in float64."""
MOST_PLACES = 2**20
"""Entries of an index array: those of one axis."""
MOST_CLASSES = 2**12
"""Every pair of classes is bounded by itself."""


def check_names(model: onnx.ModelProto) -> None:
    """Refuse names that are not readable text: messages and reports repeat them.

    Raises:
        ModelError: If a name holds bytes that are not UTF-8, or a control character.
    """
    for name in _names(model):
        if not isinstance(name, str) or not name.isprintable():
            raise ModelError(f"the file holds the name {name!a}; accepted are printable characters")


def check_flat(model: onnx.ModelProto) -> None:
    """Refuse what a runtime may never end or crash on, also where no logit needs it.

    Raises:
        ModelError: With the first node that holds a graph of its own, or splits into no tensor.
    """
    for node in (*model.graph.node, *(node for each in model.functions for node in each.node)):
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ModelError(
                f"{node.name or node.output[0]} ({node.op_type}): found a graph inside a node; "
                "accepted are operators alone"
            )
        if node.op_type == "Split" and "" in node.output:
            raise ModelError(
                f"{node.name or 'an operator'} (Split): found a part without a name; accepted are "
                "names for all"
            )


def check_structure(content: bytes, *, shapes: bool) -> None:
    """Refuse what the ONNX checker refuses.

    Args:
        content: the file.
        shapes: whether shapes and types are followed through the graph, too.

    Raises:
        ModelError: With the first line of what it found.
    """
    try:
        checker.check_model(content, full_check=shapes)
    except (
        checker.ValidationError,
        shape_inference.InferenceError,
        DecodeError,
        ArithmeticError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as fault:
        raise ModelError(f"the file is not valid ONNX: {first_line(fault)}") from None


def check_opsets(model: onnx.ModelProto, *, accepted: range) -> None:
    """Refuse all but one declared version of the standard operators.

    Raises:
        ModelError: If the opset is another one, or is declared twice.
    """
    found = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(found) != 1 or found[0] not in accepted:
        versions = " and ".join(str(version) for version in found) or "none"
        raise ModelError(
            f"the file has opset {versions}; accepted is one from {accepted.start} to "
            f"{accepted.stop - 1}"
        )


def check_size(entries: int) -> None:
    """Refuse programs whose tensors would not fit into memory.

    Raises:
        ModelError: If they hold more entries than `LARGEST_PROGRAM`.
    """
    if entries > LARGEST_PROGRAM:
        raise ModelError(
            f"the tensors of one example hold {entries} entries or more; accepted are at most "
            f"{LARGEST_PROGRAM}"
        )


def check_places(places: int) -> None:
    """Refuse index arrays that would not fit into memory.

    Raises:
        ModelError: If one holds more than `MOST_PLACES` places.
    """
    if places > MOST_PLACES:
        raise ModelError(
            f"the windows or places along an axis are {places}; accepted are at most {MOST_PLACES}"
        )


def _names(model: onnx.ModelProto) -> Iterator[str | bytes]:
    """Everything in a file that a message may repeat."""
    graph = model.graph
    for entry in model.opset_import:
        yield entry.domain
    for named in (*graph.input, *graph.output, *graph.initializer, *model.functions):
        yield named.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (entry.name for entry in node.attribute)
