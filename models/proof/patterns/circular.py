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

from models.proof.norms.torus import Axis, absolute_kernel_bound, torus_norm_bound
from models.proof.operators.convolution import Convolution
from models.proof.operators.operator import Operator, Stretch
from models.proof.operators.selection import Selection
from models.proof.patterns.group import Group, Wiring
from models.proof.upward import up_product


def circular_convolution(wiring: Wiring, operator: Operator) -> Group | None:
    """A Pad in mode wrap that a Conv without pads reads."""
    if not isinstance(operator, Convolution) or any(operator.pads):
        return None
    pad = wiring.maker.get(operator.operands[0])
    if not isinstance(pad, Selection):
        return None
    _, *sides = wiring.shapes[pad.operands[0]]
    if len(pad.indices) != 1 + len(sides) or pad.indices[0] is not None:
        return None
    axes = []
    for axis, side, places in zip(operator.axes, sides, pad.indices[1:], strict=True):
        continued = tuple(range(side)) if places is None else places
        around = all(
            after == (before + 1) % side for before, after in itertools.pairwise(continued)
        )
        if min(continued) < 0 or not around or len(continued) - side > axis.reach - 1:
            return None
        axes.append(axis if side % axis.stride == 0 else replace(axis, stride=1))
    theorem = partial(_stretch, wiring, pad, operator, tuple(axes))
    return Group("circular Conv", pad.operands[0], (pad, operator), theorem)


def _stretch(
    wiring: Wiring, pad: Selection, convolution: Convolution, axes: tuple[Axis, ...]
) -> Stretch:
    """The largest frequency response on the torus of the image's own sides."""
    _, *sides = wiring.shapes[pad.operands[0]]
    plain = convolution.stretch(wiring.shapes[convolution.result])
    torus = torus_norm_bound(convolution.by_group, axes, tuple(sides))
    copies = pad.stretch(wiring.shapes[pad.result]).factor
    padded = up_product(plain.factor, copies)
    return replace(
        plain,
        method="frequencies of the torus",
        factor=min(torus, padded),
        absolute=absolute_kernel_bound(convolution.by_group, axes),
        terms=plain.terms * math.ceil(copies),  # the convolution reads an image that is longer
    )
