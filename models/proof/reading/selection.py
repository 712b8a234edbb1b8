"""Nodes that pick entries by their place: Slice, Gather, Expand, Tile and Pad, as index arrays."""

import math

import numpy as np

from models.proof.operators.lines import PAD
from models.proof.operators.operator import Operator
from models.proof.operators.routing import Move
from models.proof.operators.selection import Selection
from models.proof.reading.broadcasting import Shape, enlarging
from models.proof.reading.checks import check_places, check_size
from models.proof.reading.node import BATCH, Node, Step

Indices = tuple[tuple[int, ...] | None, ...]
WHOLE_BATCH = 2**31 - 1
"""A slice up to here or beyond keeps every example of a batch."""


def slice_(node: Node) -> list[Operator]:
    """Every step-th entry between two places of an axis."""
    x = node.activation()
    shape = node.shapes[x]
    starts, ends = node.integers(1, "starts"), node.integers(2, "ends")
    axes = node.integers(3, "axes") if node.input(3) else tuple(range(len(starts)))
    steps = node.integers(4, "steps") if node.input(4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise node.refuse(f"steps {list(steps)} for axes {list(axes)}", "one, not 0, to an axis")
    if BATCH in (*starts, *steps) or any(
        end == BATCH and axis not in (0, -len(shape) - 1)
        for axis, end in zip(axes, ends, strict=True)
    ):
        raise node.refuse("a part as long as the batch", "parts that the file fixes")
    picked: list[tuple[int, ...] | None] = [None] * len(shape)
    rows = zip(axes, starts, ends, steps, strict=True)
    for stored, start, end, step in rows:
        if stored in (0, -len(shape) - 1) and (start, step) == (0, 1) and end >= WHOLE_BATCH:
            continue
        axis = node.axis(stored, len(shape) + 1)
        if picked[axis - 1] is not None:
            raise node.refuse(f"axis {axis} twice", "each axis once")
        picked[axis - 1] = _sliced(shape[axis - 1], start, end, step)
    return selection(node, x, tuple(picked))


def gather(node: Node) -> list[Operator]:
    """Entries of an axis by constant indices; the axis becomes those of the indices."""
    x = node.activation()
    shape = node.shapes[x]
    axis = node.axis(node.attributes.get("axis", 0), len(shape) + 1)
    if not node.is_constant(1):
        raise node.refuse("indices that depend on the input", "constant indices")
    stored = node.constants[node.input(1)]
    side = shape[axis - 1]
    if stored.dtype not in (np.int64, np.int32) or stored.size == 0:
        raise node.refuse(f"{stored.size} indices of type {stored.dtype}", "int64 or int32")
    if stored.min() < -side or stored.max() >= side:
        raise node.refuse(f"indices {stored.min()} to {stored.max()}", f"places below {side}")
    check_places(stored.size)
    places = tuple(int(at) % side for at in stored.reshape(-1))
    indices = tuple(places if at == axis else None for at in range(1, len(shape) + 1))
    target = (*shape[: axis - 1], *stored.shape, *shape[axis:])
    return selection(node, x, indices, target=target)


def expand(node: Node) -> list[Operator]:
    """Axes of length 1 repeated."""
    x = node.activation()
    shape = node.shapes[x]
    wanted = node.integers(1, "shape")
    padded = (1,) * (len(shape) + 1 - len(wanted)) + wanted
    batch, *target = padded
    fits = len(target) == len(shape) and batch in (1, BATCH, node.batch)
    if not fits or any(
        (have != want and 1 not in (have, want)) or want < 1
        for have, want in zip(shape, target, strict=False)
    ):
        raise node.refuse(
            f"the target {list(wanted)} for an example of shape {list(shape)}",
            "a shape that it broadcasts to, 1 for the batch",
        )
    full = tuple(max(have, want) for have, want in zip(shape, target, strict=True))
    return selection(node, x, enlarging(shape, full))


def tile(node: Node) -> list[Operator]:
    """The whole example several times along its axes."""
    x = node.activation()
    shape = node.shapes[x]
    batch, *repeats = node.integers(1, "repeats") or (0,)
    if batch != 1 or len(repeats) != len(shape) or min(repeats, default=0) < 1:
        raise node.refuse(f"repeats {[batch, *repeats]}", "1 for the batch and then 1 or more")
    check_places(max(side * times for side, times in zip(shape, repeats, strict=True)))
    indices = tuple(
        None if times == 1 else tuple(range(side)) * times
        for side, times in zip(shape, repeats, strict=True)
    )
    return selection(node, x, indices)


def pad(node: Node) -> list[Operator]:
    """A border that is constant, or made of the image."""
    x = node.activation()
    shape = node.shapes[x]
    mode = node.attributes.get("mode", b"constant").decode()
    value = node.number(2, "pad value") if node.input(2) else 0.0
    told = node.integers(1, "pads")
    stored = node.integers(3, "axes") if node.input(3) else range(len(shape) + 1)
    if len(told) != 2 * len(stored):
        raise node.refuse(f"pads {list(told)}", f"two for each of {len(stored)} axes")
    picked: list[tuple[int, ...] | None] = [None] * len(shape)
    seen = set()
    for place, entry in enumerate(stored):
        before, behind = told[place], told[place + len(stored)]
        if entry in (0, -len(shape) - 1) and before == behind == 0:
            continue
        axis = node.axis(entry, len(shape) + 1)
        if axis in seen:
            raise node.refuse(f"axis {axis} twice", "each axis once")
        seen.add(axis)
        if (before, behind) != (0, 0):
            picked[axis - 1] = _padded(node, mode, shape[axis - 1], before, behind)
    return selection(node, x, tuple(picked), value=value if mode == "constant" else 0.0)


def selection(
    node: Node, x: str, indices: Indices, *, target: Shape | None = None, value: float = 0.0
) -> list[Operator]:
    """Entries picked along each axis, and a new shape where one is given.

    Raises:
        ModelError: If nothing is left, or too much.
    """
    shape = tuple(
        side if places is None else len(places)
        for side, places in zip(node.shapes[x], indices, strict=True)
    )
    check_size(math.prod(shape))
    if math.prod(shape) == 0:
        raise node.refuse("a result without entries", "one entry or more")
    steps: list[Step] = [(Selection, {"indices": indices, "value": value})]
    if all(places is None for places in indices):
        steps = [(Move, {})]
    if target not in (None, shape):
        steps.append((Move, {"kind": "Reshape", "reshape": target}))
    return node.chain(x, *steps)


def _sliced(side: int, start: int, end: int, step: int) -> tuple[int, ...]:
    """Places of a slice; ends below 0 count from behind and those beyond the axis are cut."""
    least, most = (0, side) if step > 0 else (-1, side - 1)
    first, last = (
        min(max(place + side if place < 0 else place, least), most) for place in (start, end)
    )
    places = range(first, last, step)
    check_places(len(places))
    return tuple(places)


def _padded(node: Node, mode: str, side: int, before: int, behind: int) -> tuple[int, ...]:
    """Places of an axis with its border; a border below 0 is a crop."""
    check_places(side + abs(before) + abs(behind))
    longest = {"constant": math.inf, "edge": math.inf, "reflect": side - 1, "wrap": side}
    if mode not in longest:
        raise node.refuse(f"mode {mode}", ", ".join(longest))
    cropped = min(before, behind) < 0
    if max(before, behind) > longest[mode] or (cropped and mode != "constant"):
        raise node.refuse(
            f"{mode} pads {before} and {behind} of an axis of {side}",
            f"0 to {longest[mode]}, and crops with constant pads alone",
        )
    places = range(-before, side + behind)
    match mode:
        case "constant":
            return tuple(at if 0 <= at < side else PAD for at in places)
        case "edge":
            return tuple(min(max(at, 0), side - 1) for at in places)
        case "wrap":
            return tuple(at % side for at in places)
    return tuple(side - 1 - abs(side - 1 - abs(at)) for at in places)
