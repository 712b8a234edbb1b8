"""The rows of `bounds.json`: are they named, ordered and shaped as the operators of the file?

A row belongs to the node of its name, and rows come in the order of the nodes; one part of several
results has its place behind the name, as in `split[1]`.  A node may have several rows, for the
steps inside it, and the last of them has the shape of a result of the node.
Shapes are those that the file's own types lead to; where they lead to none, none is compared.
"""

import itertools
from operator import attrgetter

import onnx

from models.audit.claims import OperatorRow, Proof
from models.errors import VerificationError

ASSUMED = ("Sigmoid", "Softmax", "Softplus", "Tanh")
"""Operators whose float64 values nobody proves: a certificate has to name the assumption."""


def check_descriptions(content: bytes, proof: Proof) -> None:
    """Hold the rows' names and shapes, and what is assumed, against the file.

    Raises:
        VerificationError: Naming the first row that describes no operator of the file.
    """
    model = onnx.load_from_string(content)
    nodes, shapes = list(model.graph.node), _shapes(model)
    at = 0
    for name, group in itertools.groupby(proof.operators, key=attrgetter("name")):
        places = [place for place in range(at, len(nodes)) if name in _names(nodes[place])]
        if not places:
            raise VerificationError(
                f"operators: bounds.json has a row {name!r}, and the file no such operator there"
            )
        at = places[0]
        _check_shape(list(group)[-1], [shapes.get(result) for result in nodes[at].output])
    for kind in ASSUMED:
        used = any(row.operator == kind for row in proof.operators)
        if used and not any(kind in sentence for sentence in proof.assumptions):
            raise VerificationError(f"bounds: no assumption names {kind}, whose values rest on one")


def _names(node: onnx.NodeProto) -> set[str]:
    """What rows of a node may be called."""
    named = {node.name, *node.output} - {""}
    parts = {f"{name}[{part}]" for name in named for part in range(len(node.output))}
    return named | parts


def _check_shape(row: OperatorRow, known: list[str | None]) -> None:
    if None not in known and row.shape not in known:
        raise VerificationError(
            f"operators: {row.name} has the shape {row.shape} in bounds.json; it is "
            f"{' or '.join(str(shape) for shape in known)}"
        )


def _shapes(model: onnx.ModelProto) -> dict[str, str]:
    """Shape of one example, as the rows write it, of every tensor where it is known."""
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.output[:]
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {}
    for value in graph.value_info:
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim[1:]]
        if all(sides):
            found[value.name] = "×".join(str(side) for side in sides)
    return found
