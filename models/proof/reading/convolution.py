"""Nodes with a weight to a channel: Conv, ConvTranspose and BatchNormalization."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from models.errors import ModelError
from models.proof.operators.convolution import Convolution, TransposedConvolution
from models.proof.operators.normalisation import BatchNormalization
from models.proof.operators.operator import Constant, Operator
from models.proof.reading.checks import check_places, check_size
from models.proof.reading.node import Node


def convolution(node: Node) -> list[Operator]:
    """A convolution of an image of one to three axes."""
    x, kernel, fixed = _geometry(node)
    channels, *sides = node.shapes[x]
    outputs, per_group, *taps = kernel.array.shape
    if per_group * fixed["groups"] != channels or outputs % fixed["groups"]:
        raise _misfit(node, kernel, channels, fixed["groups"])
    reaches = _reaches(taps, fixed["dilations"])
    fixed["pads"] = _pads(node, sides, reaches, fixed["strides"])
    begins, ends = _halves(fixed["pads"])
    windows = tuple(
        (side + begin + end - reach) // stride + 1
        for side, begin, end, reach, stride in zip(
            sides, begins, ends, reaches, fixed["strides"], strict=True
        )
    )
    if min(windows) < 1:
        raise node.refuse(
            f"a kernel that reaches {reaches} in an image of {sides}", "one that fits"
        )
    padded = [sum(along) for along in zip(sides, begins, ends, strict=True)]
    _check_windows(channels, padded, windows, taps)
    bias = _bias(node, outputs)
    fixed |= {"kernel": kernel, "bias": bias, "sides": tuple(sides), "windows": windows}
    return [Convolution(**node.named(x), **fixed)]


def transposed_convolution(node: Node) -> list[Operator]:
    """The adjoint of a convolution, with pads that are cut off."""
    x, kernel, fixed = _geometry(node)
    channels, *windows = node.shapes[x]
    inputs, per_group, *taps = kernel.array.shape
    if inputs != channels or inputs % fixed["groups"]:
        raise _misfit(node, kernel, channels, fixed["groups"])
    if "output_shape" in node.attributes:
        raise node.refuse("output_shape", "pads and output_padding")
    if node.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise node.refuse(f"auto_pad = {node.attributes['auto_pad'].decode()}", "NOTSET or VALID")
    reaches = _reaches(taps, fixed["dilations"])
    fixed["pads"] = _pads(node, windows, reaches, fixed["strides"])
    begins, ends = _halves(fixed["pads"])
    extra = _whole(node, "output_padding", len(windows), default=0, least=0)
    steps = zip(fixed["strides"], fixed["dilations"], strict=True)
    if any(more >= max(step) for more, step in zip(extra, steps, strict=True)):
        raise node.refuse(f"output_padding = {list(extra)}", "less than the stride or dilation")
    sides = tuple(
        stride * (count - 1) + reach + more - begin - end
        for count, reach, stride, more, begin, end in zip(
            windows, reaches, fixed["strides"], extra, begins, ends, strict=True
        )
    )
    if min(sides) < 1:
        raise node.refuse(
            f"pads that leave a result of {list(sides)}", "a result that is not empty"
        )
    written = [sum(along) for along in zip(sides, begins, ends, strict=True)]
    _check_windows(per_group * fixed["groups"], written, windows, taps)
    bias = _bias(node, per_group * fixed["groups"])
    fixed |= {"kernel": kernel, "bias": bias, "sides": sides, "windows": tuple(windows)}
    return [TransposedConvolution(**node.named(x), **fixed)]


def batch_normalization(node: Node) -> list[Operator]:
    """A factor and a shift to a channel, as they were when training ended."""
    if node.attributes.get("training_mode", 0) or sum(map(bool, node.outputs)) > 1:
        raise node.refuse("training mode", "inference mode")
    x = node.activation()
    roles = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (node.weight(at, role) for at, role in enumerate(roles, start=1))
    channels = node.shapes[x][0]
    if any(each.array.shape != (channels,) for each in (gamma, beta, mean, variance)):
        raise node.refuse("weights of another shape", f"{channels} entries, one to a channel")
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    if not math.isfinite(epsilon) or not (variance.array.astype(np.float64) + epsilon).min() > 0:
        raise node.refuse("var + epsilon of 0 or less", "a positive one")
    return [
        BatchNormalization(
            **node.named(x),
            gamma=gamma,
            beta=beta,
            mean=mean,
            variance=variance,
            epsilon=float(np.float32(epsilon)),
        )
    ]


def _geometry(node: Node) -> tuple[str, Constant, dict[str, Any]]:
    """Operand, kernel, and what both kinds of convolution read alike."""
    x, kernel = node.activation(), node.weight(1, "kernel")
    axes = len(node.shapes[x]) - 1
    if not 1 <= axes <= 3 or kernel.array.ndim != axes + 2:
        raise node.refuse(
            f"a kernel of shape {list(kernel.array.shape)} for an example of shape "
            f"{list(node.shapes[x])}",
            "channels and one to three axes of an image",
        )
    taps = kernel.array.shape[2:]
    if tuple(node.attributes.get("kernel_shape", taps)) != taps:
        raise node.refuse(
            f"kernel_shape = {list(node.attributes['kernel_shape'])}", f"the kernel's {list(taps)}"
        )
    groups = int(node.attributes.get("group", 1))
    if groups < 1:
        raise node.refuse(f"group = {groups}", "1 or more")
    return (
        x,
        kernel,
        {
            "strides": _whole(node, "strides", axes, default=1, least=1),
            "dilations": _whole(node, "dilations", axes, default=1, least=1),
            "groups": groups,
        },
    )


def _pads(
    node: Node, sides: list[int], reaches: list[int], strides: tuple[int, ...]
) -> tuple[int, ...]:
    """Zeros before and behind each axis, as told or as auto_pad says."""
    axes = len(sides)
    told = node.attributes.get("auto_pad", b"NOTSET")
    if told in (b"NOTSET", b"VALID"):
        pads = _whole(node, "pads", 2 * axes, default=0, least=0)
        if told == b"VALID" and any(pads):
            raise node.refuse("pads beside auto_pad = VALID", "one of them")
        return pads
    if told not in (b"SAME_UPPER", b"SAME_LOWER"):
        raise node.refuse(f"auto_pad = {told!r}", "NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    if max(node.attributes.get("dilations", [1])) > 1:
        raise node.refuse("auto_pad with dilations, which runtimes pad in two ways", "pads")
    missing = [
        (-(-side // stride) - 1) * stride + reach - side
        for side, reach, stride in zip(sides, reaches, strides, strict=True)
    ]
    if min(missing) < -1:  # the last entry alone, and it is left out by all of them
        raise node.refuse(
            f"auto_pad = {told.decode()} with gaps between windows, which runtimes lay in two ways",
            "pads",
        )
    total = [max(each, 0) for each in missing]
    less, more = [each // 2 for each in total], [each - each // 2 for each in total]
    return tuple(less + more if told == b"SAME_UPPER" else more + less)


def _check_windows(
    channels: int, sides: list[int], windows: Sequence[int], taps: list[int]
) -> None:
    """Refuse an image with its pads, or windows, that would not fit into memory."""
    check_size(channels * math.prod(sides))
    for count, tap in zip(windows, taps, strict=True):
        check_places(count * tap)


def _whole(node: Node, name: str, count: int, *, default: int, least: int) -> tuple[int, ...]:
    """An attribute of whole numbers, one to an axis or an end."""
    found = tuple(node.attributes.get(name, [default] * count))
    if len(found) != count or min(found) < least:
        raise node.refuse(f"{name} = {list(found)}", f"{count} numbers of {least} or more")
    return found


def _bias(node: Node, outputs: int) -> Constant | None:
    if not node.input(2):
        return None
    bias = node.weight(2, "bias")
    if bias.array.shape != (outputs,):
        raise node.refuse(f"a bias of shape {list(bias.array.shape)}", f"{outputs} entries")
    return bias


def _reaches(taps: list[int], dilations: tuple[int, ...]) -> list[int]:
    return [(count - 1) * dilation + 1 for count, dilation in zip(taps, dilations, strict=True)]


def _halves(pads: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return pads[: len(pads) // 2], pads[len(pads) // 2 :]


def _misfit(node: Node, kernel: Constant, channels: int, groups: int) -> ModelError:
    return node.refuse(
        f"a kernel of shape {list(kernel.array.shape)} in {groups} groups for {channels} channels",
        "a kernel that fits them",
    )
