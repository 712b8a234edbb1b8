"""Conv and its adjoint, ConvTranspose, evaluated tap by tap as products of matrices."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from models.audit.node import Node
from models.audit.operators.windows import Windows, windows_of
from models.audit.step import Loss, Step
from models.audit.torus import absolute_convolution, convolution_bound


def convolution(node: Node) -> list[Step]:
    """Windows of an image, each a product with the kernel."""
    kernel, groups, bias = _weights(node)
    channels, *sides = node.shape()
    outputs, per_group = kernel.shape[:2]
    if per_group * groups != channels or outputs % groups or len(bias) not in (0, outputs):
        raise node.refuse("a kernel or bias for other channels")
    windows = windows_of(node, tuple(sides), kernel.shape[2:])
    node.fits((outputs, *windows.counts))
    by_group = kernel.reshape(groups, outputs // groups, *kernel.shape[1:])

    def run(x: np.ndarray) -> np.ndarray:
        total = 0.0
        for (tap, _), part in zip(windows.tapped(), windows.read(x), strict=True):
            columns = part.reshape(len(x), groups, per_group, -1)
            total = total + by_group[tap] @ columns
        return np.asarray(total).reshape(len(x), outputs, *windows.counts)

    return [_step(node, run, bias, by_group, windows, terms=per_group)]


def transposed(node: Node) -> list[Step]:
    """The adjoint of a convolution, with pads cut off the result."""
    kernel, groups, bias = _weights(node)
    channels, *counts = node.shape()
    inputs, per_group = kernel.shape[:2]
    if inputs != channels or inputs % groups or len(bias) not in (0, per_group * groups):
        raise node.refuse("a kernel or bias for other channels")
    way = node.attributes.get("auto_pad", b"NOTSET")
    pads = node.row("pads", 2 * len(counts), default=0, least=0)
    if "output_shape" in node.attributes or way not in (b"NOTSET", b"VALID"):
        raise node.refuse("output_shape or auto_pad")
    if way == b"VALID" and any(pads):
        raise node.refuse("pads beside auto_pad")
    begins, ends = pads[: len(counts)], pads[len(counts) :]
    extra = node.row("output_padding", len(counts), default=0, least=0)
    bare = Windows(
        sides=tuple(counts),
        counts=tuple(counts),
        taps=kernel.shape[2:],
        strides=tuple(node.row("strides", len(counts), default=1, least=1)),
        dilations=tuple(node.row("dilations", len(counts), default=1, least=1)),
        before=tuple(begins),
    )
    steps = zip(bare.strides, bare.dilations, strict=True)
    if any(more >= max(step) for more, step in zip(extra, steps, strict=True)):
        raise node.refuse(f"output_padding = {extra}")
    rows = zip(bare.spans, begins, ends, extra, strict=True)
    sides = tuple(span + more - begin - end for span, begin, end, more in rows)
    if min(sides) < 1:
        raise node.refuse("pads that leave nothing")
    windows = replace(bare, sides=sides)
    node.fits((per_group * groups, *windows.around))
    by_group = kernel.reshape(groups, inputs // groups, *kernel.shape[1:])
    outputs = per_group * groups

    def run(x: np.ndarray) -> np.ndarray:
        columns = x.reshape(len(x), groups, inputs // groups, -1)
        total = windows.blank(len(x), outputs)
        for tap, places in windows.tapped():
            part = by_group[tap].swapaxes(1, 2) @ columns
            total[places] += part.reshape(len(x), outputs, *counts)
        return windows.cut(total)

    return [_step(node, run, bias, by_group, windows, terms=inputs // groups)]


def _weights(node: Node) -> tuple[np.ndarray, int, np.ndarray]:
    kernel, groups = node.weight(1), int(node.attributes.get("group", 1))
    axes = len(node.shape()) - 1
    told = tuple(node.attributes.get("kernel_shape", kernel.shape[2:]))
    if not 1 <= axes <= 3 or kernel.ndim != axes + 2 or told != kernel.shape[2:] or groups < 1:
        raise node.refuse("a kernel of another shape")
    bias = node.weight(2) if node.given(2) else np.zeros(0)
    if bias.ndim != 1:
        raise node.refuse("a bias of another shape")
    return kernel, groups, bias


def _step(
    node: Node,
    run: Callable[[np.ndarray], np.ndarray],
    bias: np.ndarray,
    by_group: np.ndarray,
    windows: Windows,
    *,
    terms: int,
) -> Step:
    """The map with its bias; its norm is its adjoint's."""
    count = terms * math.prod(windows.taps)
    added = bias.reshape(-1, *[1] * len(windows.sides)) if bias.size else np.zeros(())

    def rounds() -> Loss:
        return Loss(
            roundings=count + 1,
            absolute=absolute_convolution(by_group, windows),
            terms=count,
            largest=float(np.abs(by_group).max()),
        )

    return node.step(
        lambda x: run(x) + added,
        prove=lambda: convolution_bound(by_group, windows),
        rounds=rounds,
        facts={"kernel": by_group, "windows": windows, "terms": count},
    )
