"""Operators that move entries, or leave some out, or use some several times.

An entry that is used k times counts k times in a squared distance, so distances grow by the root
of the largest count.  The counts are read off the places of numbered entries.
"""

import math
from collections.abc import Callable

import numpy as np

from models.audit.folding import slices
from models.audit.node import BATCH, Node, flat
from models.audit.step import Step


def reshape(node: Node) -> list[Step]:
    """Another shape of each example: Reshape, Flatten, Squeeze, Unsqueeze."""
    shape = node.shape()
    if node.kind == "Flatten":
        if node.attributes.get("axis", 1) not in (1, -len(shape)):
            raise node.refuse("an axis other than 1")
        target = [flat(shape)]
    elif node.kind == "Reshape":
        target = _target(node, shape)
    else:
        target = _with_ones(node, shape)
    return [node.move(lambda x: x.reshape(len(x), *target))]


def _target(node: Node, shape: tuple[int, ...]) -> list[int]:
    """The sides behind the batch; the first must stand for the batch and for nothing else."""
    sides = node.whole(1)
    literal = bool(node.attributes.get("allowzero", 0))
    if not sides or (literal and 0 in sides):
        raise node.refuse("a target with sides of no entries")
    first, *rest = (
        (BATCH, *shape)[at] if side == 0 and at <= len(shape) else side
        for at, side in enumerate(sides)
    )
    size = flat(shape)
    if first == BATCH and rest.count(-1) == 1:
        others = -math.prod(rest)
        rest = [size // others if side == -1 and others > 0 else side for side in rest]
    if first not in (BATCH, -1) or min(rest, default=0) < 1 or math.prod(rest) != size:
        raise node.refuse("a target whose first side is not the batch")
    return rest


def _with_ones(node: Node, shape: tuple[int, ...]) -> list[int]:
    axes = node.whole(1)
    if not axes:
        raise node.refuse("no axes")
    probe = np.empty((2, *shape))
    try:
        moved = (np.squeeze if node.kind == "Squeeze" else np.expand_dims)(probe, tuple(axes))
    except ValueError:
        raise node.refuse(f"axes {axes}") from None
    if moved.shape[0] != 2 or moved.ndim < 2:
        raise node.refuse("a step that moves the batch")
    return list(moved.shape[1:])


def transpose(node: Node) -> list[Step]:
    """Another order of the axes behind the batch."""
    rank = 1 + len(node.shape())
    order = [int(axis) for axis in node.attributes.get("perm", range(rank)[::-1])]
    if order[0] != 0 or sorted(order) != list(range(rank)):
        raise node.refuse("an order that moves the batch")
    return [node.move(lambda x: x.transpose(order))]


def identity(node: Node) -> list[Step]:
    """Nothing; Dropout that does not train."""
    if node.kind == "Dropout" and node.given(2):
        mask = node.constants.get(node.inputs[2])
        if mask is None or mask.any():
            raise node.refuse("training")
    return [node.move(lambda x: x)]


def split(node: Node) -> list[Step]:
    """Parts that fill an axis, a step to a part."""
    shape, parts = node.shape(), len(node.outputs)
    axis = node.axis(int(node.attributes.get("axis", 0)))
    side = shape[axis - 1]
    if node.given(1):
        sizes = node.whole(1)
    else:
        most = -(-side // parts)
        sizes = [min(most, side - most * part) for part in range(parts)]
    if node.attributes.get("num_outputs", parts) != parts or len(sizes) != parts:
        raise node.refuse("sizes for other parts")
    if sum(sizes) != side or min(sizes) < 1:
        raise node.refuse("sizes that do not fill the axis")
    ends = np.cumsum([0, *sizes])
    return [
        node.move(
            _taker(axis, range(int(ends[part]), int(ends[part + 1]))),
            name=f"{node.name}[{part}]",
            result=result,
        )
        for part, result in enumerate(node.outputs)
    ]


def _taker(axis: int, places: range | np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    index = np.array(places, dtype=np.int64)
    return lambda x: np.take(x, index, axis=axis)


def slice_(node: Node) -> list[Step]:
    """Every so-manieth entry between two places of some axes."""
    taken = slices(node, (BATCH, *node.shape()))

    def run(x: np.ndarray) -> np.ndarray:
        for axis, places in taken.items():
            x = np.take(x, np.array(places, dtype=np.int64), axis=axis)
        return x

    return [node.move(run)]


def gather(node: Node) -> list[Step]:
    """Entries of an axis by constant places."""
    axis = node.axis(int(node.attributes.get("axis", 0)))
    side = node.shape()[axis - 1]
    if not node.fixed(1):
        raise node.refuse("places that depend on the image")
    index = node.constants[node.inputs[1]]
    if index.dtype.kind != "i" or not index.size or index.min() < -side or index.max() >= side:
        raise node.refuse("places outside the axis")
    node.fits((flat(node.shape()) // side, index.size))
    return [node.move(_taker(axis, np.asarray(index % side)))]


def expand(node: Node) -> list[Step]:
    """Axes of length 1 repeated."""
    wanted = node.whole(1)
    sides = [1 if side == BATCH and at == 0 else side for at, side in enumerate(wanted)]
    if min(sides, default=0) < 1:
        raise node.refuse("a target with sides of no known length")
    made = node.enlarged(node.activation(), [tuple(sides)], at=1)
    if not made:
        return [node.move(lambda x: x)]
    full = made[0].shape
    return [node.move(lambda x: np.broadcast_to(x, (len(x), *full)))]


def tile(node: Node) -> list[Step]:
    """The example several times along its axes."""
    repeats = node.whole(1)
    if len(repeats) != 1 + len(node.shape()) or repeats[0] != 1 or min(repeats) < 1:
        raise node.refuse(f"repeats {repeats}")
    node.fits(side * times for side, times in zip(node.shape(), repeats[1:], strict=True))
    return [node.move(lambda x: np.tile(x, repeats))]


def pad(node: Node) -> list[Step]:
    """A border that is constant or made of the image."""
    shape = node.shape()
    rank = 1 + len(shape)
    mode = node.attributes.get("mode", b"constant").decode()
    told = node.whole(1)
    axes = node.whole(3) if node.given(3) else list(range(rank))
    value = float(node.weight(2).reshape(())) if node.given(2) and mode == "constant" else 0.0
    if len(told) != 2 * len(axes) or len({axis % rank for axis in axes}) != len(axes):
        raise node.refuse("pads for other axes")
    widths = [(0, 0)] * rank
    for at, axis in enumerate(axes):
        widths[axis] = told[at], told[at + len(axes)]
    ways = {"constant": "constant", "edge": "edge", "reflect": "reflect", "wrap": "wrap"}
    if widths[0] != (0, 0) or mode not in ways:
        raise node.refuse("pads of the batch, or of another mode,")
    most = {"reflect": -1, "wrap": 0}.get(mode)
    for side, pair in zip(shape, widths[1:], strict=True):
        if (min(pair) < 0 and mode != "constant") or (most is not None and max(pair) > side + most):
            raise node.refuse(f"pads {pair} in mode {mode}")
    node.fits(max(1, side + sum(pair)) for side, pair in zip(shape, widths[1:], strict=True))
    grown = [(max(before, 0), max(behind, 0)) for before, behind in widths]

    def run(x: np.ndarray, *, fill: float | int) -> np.ndarray:
        more = {"constant_values": fill} if mode == "constant" else {}
        x = np.pad(x, grown, mode=ways[mode], **more)  # type: ignore[call-overload]
        for axis, (before, behind) in enumerate(widths):
            places = range(max(-before, 0), x.shape[axis] - max(-behind, 0))
            x = np.take(x, np.array(places, dtype=np.int64), axis=axis)
        return x

    return [node.move(run, fill=value)]


def blocks(node: Node) -> list[Step]:
    """Channels to places, or back: DepthToSpace, SpaceToDepth."""
    shape, block = node.shape(), int(node.attributes["blocksize"])
    mode = node.attributes.get("mode", b"DCR")
    if len(shape) != 3 or block < 1 or mode not in (b"DCR", b"CRD"):
        raise node.refuse("blocks of that form")
    channels, height, width = shape
    deep = node.kind == "DepthToSpace"
    if (channels % block**2 if deep else height % block + width % block) != 0:
        raise node.refuse("blocks that are not whole")

    def to_space(x: np.ndarray) -> np.ndarray:
        less = channels // block**2
        apart = (block, block, less) if mode == b"DCR" else (less, block, block)
        order = (0, 3, 4, 1, 5, 2) if mode == b"DCR" else (0, 1, 4, 2, 5, 3)
        moved = x.reshape(len(x), *apart, height, width).transpose(order)
        return moved.reshape(len(x), less, height * block, width * block)

    def to_depth(x: np.ndarray) -> np.ndarray:
        apart = x.reshape(len(x), channels, height // block, block, width // block, block)
        moved = apart.transpose(0, 3, 5, 1, 2, 4)
        return moved.reshape(len(x), channels * block**2, height // block, width // block)

    return [node.move(to_space if deep else to_depth)]
