"""Nodes that compute with weights: which forms of each are accepted."""

import math

import numpy as np

from models.proof.operators.affine import Dense, Scale, Shift
from models.proof.operators.operator import Constant, Operator
from models.proof.reading.branches import branch_sum
from models.proof.reading.broadcasting import beside_constant
from models.proof.reading.node import Node
from models.proof.reading.powers import product


def gemm(node: Node) -> list[Operator]:
    """A matrix product with its bias, batch first."""
    alpha, beta = (float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    if not math.isfinite(alpha + beta):
        raise node.refuse(f"alpha = {alpha} and beta = {beta}", "finite factors")
    if node.attributes.get("transA", 0):
        raise node.refuse("transA = 1, which mixes the batch", "transA = 0")
    x, weight = node.activation(), node.weight(1, "weight").array
    if weight.ndim != 2 or len(node.shapes[x]) != 1:
        raise node.refuse("operands that are not matrices", "a batch of rows times a matrix")
    weight = weight if node.attributes.get("transB", 0) else weight.T
    bias = None
    if node.input(2):
        stored = node.weight(2, "bias").array
        if stored.shape not in ((), (1,), (1, 1), (len(weight),), (1, len(weight))):
            raise node.refuse(f"a bias of shape {list(stored.shape)}", "one entry to an output")
        bias = Constant(np.broadcast_to(stored.reshape(-1), (len(weight),)))
    return [Dense(**node.named(x), weight=Constant(weight), bias=bias, alpha=alpha, beta=beta)]


def matmul(node: Node) -> list[Operator]:
    """A product with a constant matrix on the right."""
    x = node.activation()
    weight = node.weight(1, "weight").array
    if weight.ndim != 2:
        raise node.refuse(f"a constant of shape {weight.shape}", "a matrix on the right")
    return [Dense(**node.named(x), weight=Constant(weight.T))]


def add_or_subtract(node: Node) -> list[Operator]:
    """A constant added or taken away, or branches."""
    subtract = node.kind == "Sub"
    if len(node.inputs) == 2 and any(node.is_constant(place) for place in (0, 1)):
        place = 1 if node.is_constant(1) else 0
        enlarging, x, constant = beside_constant(node, place, "constant")
        shift = Shift(
            **node.named(x),
            constant=constant,
            sign=-1 if subtract else 1,
            negate=subtract and place == 0,
        )
        return [*enlarging, shift]
    return branch_sum(node, (1, -1) if subtract else (1,) * len(node.inputs))


def scale(node: Node) -> list[Operator]:
    """A product with, or a quotient by, a constant."""
    if node.kind == "Mul" and not any(node.is_constant(place) for place in (0, 1)):
        return product(node)
    if node.kind == "Div" and not node.is_constant(1):
        raise node.refuse("a divisor that depends on the input", "a constant divisor")
    place = 1 if node.is_constant(1) else 0
    enlarging, x, constant = beside_constant(node, place, "constant")
    if node.kind == "Div" and not np.abs(constant.array).min() > 0:
        raise node.refuse("a divisor of 0", "divisors other than 0")
    scale = Scale(**node.named(x), constant=constant, divide=node.kind == "Div")
    return [*enlarging, scale]
