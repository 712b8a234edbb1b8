"""Nearest Resize: which entry each entry of the result copies, where no rounding decides it.

A place in the operand is a fraction.  Runtimes compute it in float32; a place that such rounding
could move to another entry is refused, unless it is exact in float32.

Source: the ONNX operator Resize, versions 13 to 19.
"""

import math
from fractions import Fraction

import numpy as np

from models.audit.node import BATCH, Node
from models.audit.step import Step

LONGEST = 2**11
CLEAR = Fraction(1, 2**10)
HALF = Fraction(1, 2)
NEAREST = {
    b"round_prefer_floor": lambda place: math.ceil(place - HALF),
    b"round_prefer_ceil": lambda place: math.floor(place + HALF),
    b"floor": math.floor,
    b"ceil": math.ceil,
}
WAYS = (
    b"half_pixel",
    b"half_pixel_symmetric",
    b"pytorch_half_pixel",
    b"asymmetric",
    b"align_corners",
)
FIXED = {
    "mode": b"nearest",
    "antialias": 0,
    "exclude_outside": 0,
    "keep_aspect_ratio_policy": b"stretch",
}


def resize(node: Node) -> list[Step]:
    """Each entry a copy of its nearest one."""
    shape = node.shape()
    rank = 1 + len(shape)
    if any(node.attributes.get(name, known) != known for name, known in FIXED.items()):
        raise node.refuse("anything but mode nearest")
    axes = [axis % rank for axis in node.attributes.get("axes", range(rank))]
    sizes = node.whole(3) if node.given(3) else []
    stored = node.constants.get(node.inputs[2]) if node.given(2) else None
    scales = [] if stored is None or not stored.size else list(node.weight(2).reshape(-1))
    if len(sizes) + len(scales) != len(axes) or len(set(axes)) != len(axes):
        raise node.refuse("sizes and scales that do not fit")
    taken = {}
    for at, axis in enumerate(axes):
        if axis == 0:
            if sizes[at : at + 1] != [BATCH] and scales[at : at + 1] != [1.0]:
                raise node.refuse("another batch")
            continue
        side = shape[axis - 1]
        if sizes and sizes[at] < 1:
            raise node.refuse(f"a side of {sizes[at]}")
        scale = Fraction(sizes[at], side) if sizes else Fraction(float(scales[at]))
        if scale != 1:
            taken[axis] = np.array(_places(node, side, scale))

    node.fits(len(taken.get(at, range(side))) for at, side in enumerate(shape, start=1))

    def run(x: np.ndarray) -> np.ndarray:
        for axis, places in taken.items():
            x = np.take(x, places, axis=axis)
        return x

    return [node.move(run)]


def _places(node: Node, side: int, scale: Fraction) -> list[int]:
    way = node.attributes.get("coordinate_transformation_mode", b"half_pixel")
    rounding = node.attributes.get("nearest_mode", b"round_prefer_floor")
    count = side * scale
    fits = count.denominator == 1 and 0 < count <= LONGEST and side <= LONGEST
    if not fits or way not in WAYS or rounding not in NEAREST:
        raise node.refuse(f"a scale {float(scale)} of {side} entries")
    nearest = NEAREST[rounding]
    binary = all((part & (part - 1)) == 0 for part in (scale.numerator, scale.denominator))
    found = []
    for at in range(int(count)):
        exact = binary and way != b"align_corners"
        if way == b"align_corners":
            place = Fraction(at * (side - 1), max(int(count) - 1, 1))
            exact = at == 0
        elif way == b"asymmetric":
            place = at / scale
            exact = exact or (scale.denominator == 1 and place.denominator == 1)
        elif way == b"pytorch_half_pixel" and count == 1:
            place, exact = Fraction(0), True
        else:
            place = (at + HALF) / scale - HALF
        if not exact and nearest(place - CLEAR) != nearest(place + CLEAR):
            raise node.refuse("a scale where float32 rounding decides")
        found.append(min(max(nearest(place), 0), side - 1))
    return found
