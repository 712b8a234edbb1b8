"""The file that ships, parsed; what is wrong with one that is no model is said in a line."""

import onnx

from models.errors import VerificationError, first_line


def parsed(content: bytes) -> onnx.ModelProto:
    """A file as onnx reads it, held against onnx's own checker.

    Raises:
        VerificationError: If it is no model, or holds a loop or a branch, which may never end.
    """
    try:
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model)
    except Exception as fault:  # protobuf and the checker have no common root
        raise VerificationError(
            f"operators: model.onnx is no valid ONNX: {first_line(fault)}"
        ) from None
    for node in (*model.graph.node, *(node for each in model.functions for node in each.node)):
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise VerificationError(f"operators: {node.op_type} holds a graph of its own")
        if node.op_type == "Split" and "" in node.output:
            raise VerificationError("operators: a part of a Split has no name")
    return model
