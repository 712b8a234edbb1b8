"""Pooling nodes: their windows, listed axis by axis, and which forms are accepted."""

from dataclasses import dataclass, replace

from models.proof.operators.lines import PAD, Windows
from models.proof.operators.operator import Operator
from models.proof.operators.pooling import AveragePool, LpPool, MaxPool
from models.proof.reading.checks import check_places
from models.proof.reading.node import Node


@dataclass(frozen=True)
class Geometry:
    """How windows lie along one axis.

    Attributes:
        side: entries of the axis.
        kernel: entries of a window.
        stride: between the starts of two windows.
        dilation: between two entries of a window.
        ceil: whether a last window may reach beyond the padding.
        pads: before and behind the axis.
    """

    side: int
    kernel: int
    stride: int
    dilation: int
    ceil: bool
    pads: tuple[int, int] = (0, 0)

    def windows(self) -> Windows:
        """The entries behind each entry of the result."""
        reach = (self.kernel - 1) * self.dilation + 1
        free = self.side + sum(self.pads) - reach
        last = (-(-free // self.stride) if self.ceil else free // self.stride) if free >= 0 else -1
        check_places((last + 1) * self.kernel)
        starts = (place * self.stride - self.pads[0] for place in range(last + 1))
        return tuple(
            tuple(
                entry if 0 <= entry < self.side else PAD
                for entry in range(start, start + reach, self.dilation)
            )
            for start in starts
        )


def max_pool(node: Node) -> list[Operator]:
    """The largest entry of each window; the places may not be read."""
    x = node.activation()
    return [MaxPool(**node.named(x), windows=_windows(node, x))]


def lp_pool(node: Node) -> list[Operator]:
    """The Euclidean norm of each window."""
    if node.attributes.get("p", 2) != 2:
        raise node.refuse(f"p = {node.attributes['p']}", "p = 2")
    if node.attributes.get("ceil_mode", 0):  # ONNX's own evaluator weighs a window that is cut
        raise node.refuse("ceil_mode, which runtimes read in two ways", "ceil_mode = 0")
    x = node.activation()
    return [LpPool(**node.named(x), windows=_windows(node, x))]


def average_pool(node: Node) -> list[Operator]:
    """The mean of each window, padding counted or not."""
    x = node.activation()
    padding_counts = bool(node.attributes.get("count_include_pad", 0))
    if padding_counts and node.attributes.get("ceil_mode", 0):
        raise node.refuse("ceil_mode with count_include_pad, which runtimes divide in two ways",
                          "one of them")  # fmt: skip
    windows = _windows(node, x)
    divisors = tuple(
        None
        if along is None
        else tuple(len(window) - (0 if padding_counts else window.count(PAD)) for window in along)
        for along in windows
    )
    return [AveragePool(**node.named(x), windows=windows, divisors=divisors)]


def _windows(node: Node, x: str) -> tuple[Windows | None, ...]:
    """Windows along each axis behind the batch; the channels have none."""
    sides = node.shapes[x][1:]
    rank = len(sides)
    kernels = node.attributes["kernel_shape"]
    strides = node.attributes.get("strides", [1] * rank)
    dilations = node.attributes.get("dilations", [1] * rank)
    if not rank == len(kernels) == len(strides) == len(dilations) > 0:
        raise node.refuse(f"a kernel of shape {list(kernels)}", f"{rank} axes")
    if min(*kernels, *strides, *dilations) < 1:
        raise node.refuse("a kernel, stride or dilation below 1", "positive whole numbers")
    along: list[Windows | None] = [None]
    for axis, side in enumerate(sides):
        bare = Geometry(
            side=side,
            kernel=kernels[axis],
            stride=strides[axis],
            dilation=dilations[axis],
            ceil=bool(node.attributes.get("ceil_mode", 0)),
        )
        found = replace(bare, pads=_pads(node, axis, bare, rank=rank)).windows()
        if not found or any(set(window) == {PAD} for window in found):
            raise node.refuse("no window, or a window of padding alone", "windows on the image")
        along.append(found)
    return tuple(along)


def _pads(node: Node, axis: int, bare: Geometry, *, rank: int) -> tuple[int, int]:
    """Padding before and behind an axis, as told or as `auto_pad` makes it."""
    told = node.attributes.get("pads", [0] * (2 * rank))
    way = node.attributes.get("auto_pad", b"NOTSET").decode()
    if way == "NOTSET":
        if len(told) != 2 * rank or not 0 <= min(told) <= max(told[axis::rank]) < bare.kernel:
            raise node.refuse(f"pads {list(told)}", f"{2 * rank} pads from 0, below the kernel")
        return told[axis], told[axis + rank]
    if any(told) or bare.ceil:
        raise node.refuse(f"auto_pad = {way} with pads or ceil_mode", "one of them")
    if way == "VALID":
        return 0, 0
    total = (-(-bare.side // bare.stride) - 1) * bare.stride + bare.kernel - bare.side
    if way not in ("SAME_UPPER", "SAME_LOWER") or bare.dilation != 1 or total < 0:
        raise node.refuse(
            f"auto_pad = {way}, dilation {bare.dilation}, {total} entries of padding",
            "VALID; SAME_UPPER or SAME_LOWER with dilation 1 and no gap between windows, where "
            "runtimes agree",
        )
    less, more = total // 2, total - total // 2
    return (less, more) if way == "SAME_UPPER" else (more, less)
