"""Operands of several shapes: an activation that another operand enlarges is expanded first."""

from collections.abc import Iterable

import numpy as np

from models.proof.operators.operator import Constant, Operator
from models.proof.operators.selection import Selection
from models.proof.reading.checks import check_places
from models.proof.reading.node import Node

Shape = tuple[int, ...]


def expanded(
    node: Node, x: str, shapes: Iterable[Shape], *, result: str
) -> tuple[list[Operator], str]:
    """An activation as large as operands of other shapes make it.

    Args:
        node: reads the activation.
        x: the activation.
        shapes: of the other operands, the batch included.
        result: name of the enlarged activation.

    Returns:
        The operators that enlarge it, none where nothing does, and the name of what they make.

    Raises:
        ModelError: If the shapes do not fit, or one of them has an axis where the batch is.
    """
    own = (1, *node.shapes[x])
    others = list(shapes)
    try:
        full = np.broadcast_shapes(own, *others)
    except ValueError:
        full = ()
    if len(full) != len(own) or full[0] != 1:
        names = " and ".join(str(list(shape)) for shape in others)
        raise node.refuse(
            f"a constant or branch of shape {names} beside an activation of shape "
            f"{list(own[1:])} for one example",
            "one that broadcasts to it, or it to that, the batch left alone",
        )
    if full == own:
        return [], x
    indices = enlarging(own[1:], full[1:])
    named = node.named(x) | {"kind": "Expand", "result": result}
    return [Selection(**named, indices=indices)], result


def enlarging(shape: Shape, target: Shape) -> tuple[tuple[int, ...] | None, ...]:
    """Indices that repeat each axis of length 1 up to the target's length."""
    check_places(max(target))
    return tuple(
        None if side == wanted else (0,) * wanted
        for side, wanted in zip(shape, target, strict=True)
    )


def beside_constant(node: Node, place: int, role: str) -> tuple[list[Operator], str, Constant]:
    """The other one of two operands, enlarged where the constant at `place` makes it larger."""
    constant = node.weight(place, role)
    shape = constant.array.shape
    operators, x = expanded(node, node.activation(1 - place), [shape], result=node.inner(0))
    return operators, x, constant
