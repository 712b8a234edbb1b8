"""An image that is continued around its edges, then convolved: a circular convolution.

On a torus of the image's own side the windows of such a convolution are some of its rows, each at
most once, where the pads of an axis add up to less than a window's reach and the stride divides
the side.  With more padding rows repeat, and no group is recognised.  Where the stride does not
divide the side, the windows are some of those with stride 1.
"""

import itertools
import math
from dataclasses import replace
from functools import partial

from torch import Tensor

from models.proof.norms.torus import Axis, absolute_kernel_bound, torus_norm_bound
from models.proof.operators.convolution import Convolution
from models.proof.operators.operator import Operator, Stretch
from models.proof.patterns.group import Group, Wiring
from models.proof.patterns.places import moved_places, moved_sources, places_along_axes
from models.proof.upward import up_product, up_sqrt


def circular_convolution(wiring: Wiring, operator: Operator) -> Group | None:
    """A Conv without pads of an image that was continued: by Pad, or by Concat of slices."""
    if not isinstance(operator, Convolution) or any(operator.pads):
        return None
    for source in moved_sources(wiring, operator.operands[0]):
        inside = wiring.between(source, operator.result)
        places = moved_places(wiring, source, inside)[operator.operands[0]]
        axes = _axes(operator, places, wiring.shapes[source])
        if axes is not None:
            sides = wiring.shapes[source][1:]
            most = int(places.flatten().bincount().max())
            theorem = partial(_stretch, wiring, operator, axes, sides, most)
            return Group("circular Conv", source, inside, theorem)
    return None


def _axes(
    convolution: Convolution, places: Tensor, shape: tuple[int, ...]
) -> tuple[Axis, ...] | None:
    """Windows on the torus of the image's own sides; None where they repeat or leave it."""
    lines = places_along_axes(places, shape)
    if lines is None or lines[0] != tuple(range(shape[0])):
        return None
    if not any(len(line) > side for line, side in zip(lines, shape, strict=True)):
        return None
    axes = []
    for axis, side, continued in zip(convolution.axes, shape[1:], lines[1:], strict=True):
        around = all(
            after == (before + 1) % side for before, after in itertools.pairwise(continued)
        )
        if not around or len(continued) - side > axis.reach - 1:
            return None
        axes.append(axis if side % axis.stride == 0 else replace(axis, stride=1))
    return tuple(axes)


def _stretch(
    wiring: Wiring,
    convolution: Convolution,
    axes: tuple[Axis, ...],
    sides: tuple[int, ...],
    most: int,
) -> Stretch:
    """The largest frequency response on the torus of the image's own sides.

    Args:
        wiring: of the program.
        convolution: of the continued image.
        axes: of the windows on the torus.
        sides: of the image before it was continued.
        most: largest number of times that a pixel of it is used.
    """
    plain = convolution.stretch(wiring.shapes[convolution.result])
    torus = torus_norm_bound(convolution.by_group, axes, sides)
    copies = up_sqrt(most)
    return replace(
        plain,
        method="frequencies of the torus",
        factor=min(torus, up_product(plain.factor, copies)),
        absolute=absolute_kernel_bound(convolution.by_group, axes),
        terms=plain.terms * math.ceil(copies),  # the convolution reads an image that is longer
    )
