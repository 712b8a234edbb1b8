"""Nearest Resize: which entry each entry of the result copies.

Runtimes compute places in float32.  Where such rounding could decide between two entries, the
node is refused: a place must be exact in float32, or clear of where it would be rounded elsewhere.

Source: the ONNX operator Resize, versions 13 to 19.
"""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from models.proof.operators.operator import Operator
from models.proof.reading.node import BATCH, Node
from models.proof.reading.selection import selection

HALF = Fraction(1, 2)
CLEAR = Fraction(1, 2**10)
"""How far a place must be from where another entry would be nearest, in entries."""
LONGEST = 2**11
"""Longest axis: up to it four float32 roundings of a place stay below `CLEAR`."""

_ROUNDED: dict[str, Callable[[Fraction], int]] = {
    "round_prefer_floor": lambda place: math.ceil(place - HALF),
    "round_prefer_ceil": lambda place: math.floor(place + HALF),
    "floor": math.floor,
    "ceil": math.ceil,
}


def resize(node: Node) -> list[Operator]:
    """Entries copied from their nearest ones, along axes behind the batch."""
    x = node.activation()
    rank = len(node.shapes[x]) + 1
    for name, accepted in _ACCEPTED.items():
        found = node.attributes.get(name, accepted[0])
        if found not in accepted:
            raise node.refuse(f"{name} = {found}", " or ".join(str(entry) for entry in accepted))
    axes = [entry + rank if entry < 0 else entry for entry in node.attributes.get("axes", ())]
    axes = axes or list(range(rank))
    sizes = node.integers(3, "sizes") if node.input(3) else ()
    scales = _scales(node) if node.input(2) else ()
    if len(sizes) + len(scales) != len(axes) or len(set(axes)) != len(axes):
        raise node.refuse("sizes and scales that do not fit", "one size or scale to an axis")
    picked: list[tuple[int, ...] | None] = [None] * (rank - 1)
    for place, axis in enumerate(axes):
        if axis == 0 and (sizes[place] in (BATCH, node.batch) if sizes else scales[place] == 1):
            continue
        side = node.shapes[x][node.axis(axis, rank) - 1]
        scale = Fraction(sizes[place], side) if sizes else scales[place]
        if scale != 1:
            picked[axis - 1] = _nearest(node, side, scale)
    return selection(node, x, tuple(picked))


_ACCEPTED: dict[str, tuple[object, ...]] = {
    "mode": (b"nearest",),
    "coordinate_transformation_mode": (
        b"half_pixel",
        b"half_pixel_symmetric",
        b"pytorch_half_pixel",
        b"asymmetric",
        b"align_corners",
    ),
    "nearest_mode": tuple(name.encode() for name in _ROUNDED),
    "antialias": (0,),
    "exclude_outside": (0,),
    "keep_aspect_ratio_policy": (b"stretch",),
}


def _scales(node: Node) -> tuple[Fraction, ...]:
    """Scales as they are stored; an empty row counts as left out."""
    name = node.input(2)
    if name in node.constants and node.constants[name].size == 0:
        return ()
    stored = node.weight(2, "scales").array
    if not (stored > 0).all():
        raise node.refuse("scales that are not positive", "positive ones")
    return tuple(Fraction(float(entry)) for entry in np.ravel(stored))


def _nearest(node: Node, side: int, scale: Fraction) -> tuple[int, ...]:
    """Places along an axis of `side` entries, resized by `scale`."""
    transformation = node.attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    rounding = node.attributes.get("nearest_mode", b"round_prefer_floor").decode()
    length = side * scale
    if length.denominator != 1 or side > LONGEST or length > LONGEST:
        raise node.refuse(
            f"scale {float(scale)} of an axis of {side}", f"a whole length of {LONGEST} at most"
        )
    nearest = _ROUNDED[rounding]
    picked = []
    for at in range(int(length)):
        place, exact = _place(at, side, int(length), scale, transformation)
        if not exact and nearest(place - CLEAR) != nearest(place + CLEAR):
            raise node.refuse(
                f"scale {float(scale)}, {transformation} and {rounding}, which float32 rounding "
                "decides",
                "places clear of a tie",
            )
        picked.append(min(max(nearest(place), 0), side - 1))
    return tuple(picked)


def _place(
    at: int, side: int, length: int, scale: Fraction, transformation: str
) -> tuple[Fraction, bool]:
    """Where an entry lies in the operand, and whether float32 finds it exactly."""
    power_of_two = _is_power_of_two(scale.numerator) and _is_power_of_two(scale.denominator)
    if transformation == "align_corners":
        return Fraction(at * (side - 1), max(length - 1, 1)), at == 0
    if transformation == "asymmetric":
        place = at / scale
        # A quotient of whole numbers is rounded correctly, and so is exact where it is whole.
        return place, power_of_two or (scale.denominator == 1 and place.denominator == 1)
    if transformation == "pytorch_half_pixel" and length == 1:
        return Fraction(0), True
    return (at + HALF) / scale - HALF, power_of_two


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
