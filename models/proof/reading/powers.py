"""Nodes that are accepted inside a group alone: Pow, Sqrt, Sign, products of activations."""

from models.proof.operators.operator import Operator
from models.proof.operators.powers import Product, Root, Sign, Square
from models.proof.reading.node import Node


def power(node: Node) -> list[Operator]:
    """The exponent 2 or 1/2."""
    x = node.activation()
    exponent = node.constants.get(node.input(1))
    if exponent is None or exponent.size != 1 or exponent.ndim > len(node.shapes[x]) + 1:
        raise node.refuse("an exponent that is no single constant", "2 or 1/2")
    match float(exponent.reshape(())):
        case 2.0:
            return [Square(**node.named(x))]
        case 0.5:
            return [Root(**node.named(x))]
    raise node.refuse(f"the exponent {float(exponent.reshape(()))}", "2 or 1/2")


def root(node: Node) -> list[Operator]:
    """The square root."""
    return [Root(**node.named(node.activation()))]


def sign(node: Node) -> list[Operator]:
    """-1, 0 or 1."""
    return [Sign(**node.named(node.activation()))]


def product(node: Node) -> list[Operator]:
    """Two activations of one shape, multiplied."""
    operands = node.activation(0), node.activation(1)
    first, second = (node.shapes[name] for name in operands)
    if first != second:
        raise node.refuse(f"activations of shapes {list(first)} and {list(second)}", "a constant")
    return [Product(**node.named(*operands))]
