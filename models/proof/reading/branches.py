"""Nodes where branches meet, and Max and Min with constants: which forms are accepted."""

from models.proof.operators.branches import Concatenation, Extreme, Sum
from models.proof.operators.elementwise import Clip
from models.proof.operators.operator import Operator
from models.proof.reading.broadcasting import expanded
from models.proof.reading.node import Node, Step


def branch_sum(node: Node, signs: tuple[int, ...]) -> list[Operator]:
    """Branches, enlarged to one shape, added with their signs."""
    operands = tuple(node.activation(place) for place in range(len(node.inputs)))
    operators, enlarged = _of_one_shape(node, operands)
    return [*operators, Sum(**node.named(*enlarged), signs=signs)]


def extreme(node: Node) -> list[Operator]:
    """The largest or smallest of branches and constants, entry by entry."""
    places = range(len(node.inputs))
    names = tuple(node.activation(place) for place in places if not node.is_constant(place))
    constants = [node.weight(place, "constant") for place in places if node.is_constant(place)]
    operators, enlarged = _of_one_shape(node, names, [entry.array.shape for entry in constants])
    side = "low" if node.kind == "Max" else "high"
    steps: list[Step] = [(Clip, {side: entry}) for entry in constants]
    if len(enlarged) > 1 or not constants:
        steps.insert(0, (Extreme, {"operands": enlarged}))
    return operators + node.chain(enlarged[0], *steps)


def concat(node: Node) -> list[Operator]:
    """Branches side by side."""
    operands = tuple(node.activation(place) for place in range(len(node.inputs)))
    axis = node.axis(node.attributes["axis"], len(node.shapes[operands[0]]) + 1)
    return [Concatenation(**node.named(*operands), axis=axis)]


def _of_one_shape(
    node: Node, names: tuple[str, ...], constants: list[tuple[int, ...]] | None = None
) -> tuple[list[Operator], tuple[str, ...]]:
    """Branches as large as the largest of them and of the constants."""
    shapes = [(1, *node.shapes[name]) for name in names] + (constants or [])
    operators, enlarged = [], []
    for place, name in enumerate(names):
        # Below 0, so that no name meets one of the node's chain.
        made, result = expanded(node, name, shapes, result=node.inner(-1 - place))
        operators += made
        enlarged.append(result)
    return operators, tuple(enlarged)
