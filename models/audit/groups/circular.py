"""An image continued around its edges, then convolved: a convolution on the image's own torus.

Its windows are some of those of the circular convolution, each at most once, where the pads of an
axis add up to less than a window's reach.  Where the stride does not divide the side, they are some
of the windows with stride 1.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from models.audit.arithmetic import above, root_above
from models.audit.groups.wiring import Wiring, only_moves
from models.audit.operators.windows import Windows
from models.audit.step import Loss, Step, grouped
from models.audit.torus import absolute_torus, torus_bound


def circular(wiring: Wiring, step: Step) -> Step | None:
    """The group that ends in a Conv without pads of a continued image."""
    if step.kind != "Conv" or any(step.facts["windows"].before):
        return None
    windows: Windows = step.facts["windows"]
    if any(span > side for span, side in zip(windows.spans, windows.sides, strict=True)):
        return None
    for source in _sources(wiring, step.operands[0]):
        inside = wiring.between(source, step.result)
        places = wiring.places(source, inside).get(step.operands[0])
        if places is None:
            continue
        shape = wiring.shapes[source]
        torus = _torus(places, shape, windows)
        if torus is not None:
            most = int(np.bincount(places.reshape(-1)).max())
            return _group(step, source, inside, torus=torus, sides=shape[1:], most=most)
    return None


def _sources(wiring: Wiring, name: str) -> Iterator[str]:
    """Tensors that a tensor is moved and joined from, the first of the file first."""
    pending = [name]
    before: set[str] = set()
    while pending:
        step = wiring.before(pending.pop())
        if step is not None and (step.kind == "Concat" or only_moves(step)):
            pending += [operand for operand in step.operands if operand not in before]
            before.update(step.operands)
    yield from (each for each in wiring.shapes if each in before)


def _torus(places: np.ndarray, shape: tuple[int, ...], windows: Windows) -> Windows | None:
    """Windows with the strides that hold on the torus; None where they repeat or leave it."""
    if places.ndim != 1 + len(shape) or places.size <= math.prod(shape):
        return None
    lines = []
    for axis, index in enumerate(np.unravel_index(places[0], shape)):
        line = np.moveaxis(index, axis, 0).reshape(index.shape[axis], -1)
        if (line != line[:, :1]).any():
            return None
        lines.append(line[:, 0])
    channels, *along = lines
    if not np.array_equal(channels, np.arange(shape[0])):
        return None
    for line, side, reach in zip(along, shape[1:], windows.reaches, strict=True):
        if ((line[1:] - line[:-1] - 1) % side).any() or len(line) - side > reach - 1:
            return None
    rows = zip(windows.strides, shape[1:], strict=True)
    return replace(
        windows, strides=tuple(stride if side % stride == 0 else 1 for stride, side in rows)
    )


def _group(
    step: Step,
    source: str,
    inside: tuple[Step, ...],
    *,
    torus: Windows,
    sides: tuple[int, ...],
    most: int,
) -> Step:
    copies, kernel = root_above(most), step.facts["kernel"]

    def prove() -> float:
        return min(torus_bound(kernel, torus, sides), above(step.factor * copies, 1))

    def rounds() -> Loss:
        terms = step.loss.terms * math.ceil(copies)
        return replace(step.loss, absolute=absolute_torus(kernel, torus), terms=terms)

    return grouped("circular Conv", source, inside, prove=prove, rounds=rounds)
