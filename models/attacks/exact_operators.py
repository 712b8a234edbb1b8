"""Operators in exact arithmetic, written apart from what they run elsewhere: no torch, no rounding.

A kind that is not here, a quotient by a constant and a root may give numbers that are irrational or
have a denominator of their own to each entry.
"""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import cast

import numpy as np

from models.attacks.rational import Rationals, together
from models.proof.operators.affine import Dense, Scale, Shift
from models.proof.operators.branches import Concatenation, Extreme, Sum
from models.proof.operators.convolution import Convolution
from models.proof.operators.elementwise import Activation, Clip
from models.proof.operators.lines import PAD
from models.proof.operators.operator import Constant, Operator
from models.proof.operators.pooling import AveragePool, MaxPool, Pooling
from models.proof.operators.powers import Product, Square
from models.proof.operators.reduction import Reduction
from models.proof.operators.routing import Move
from models.proof.operators.selection import Selection
from models.proof.operators.sorting import TopK

KINKED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Relu": lambda whole: np.maximum(whole, 0),
    "Abs": np.abs,
    "Neg": np.negative,
}
REDUCED: dict[str, tuple[Callable[..., np.ndarray], bool]] = {
    "ReduceMax": (np.max, False),
    "GlobalMaxPool": (np.max, False),
    "ReduceMin": (np.min, False),
    "ReduceSum": (np.sum, False),
    "ReduceMean": (np.sum, True),
    "GlobalAveragePool": (np.sum, True),
}
"""How an axis is reduced, and whether the result is a mean."""


def stays_rational(operator: Operator) -> bool:
    """Whether an operator can be run exactly."""
    match operator:
        case Scale():
            return not operator.divide
        case Convolution():
            return min(operator.pads) >= 0
        case Reduction():
            return operator.kind in REDUCED
        case Activation():
            return operator.slope is not None or operator.kind in KINKED
    return type(operator) in RUN


def _constant(constant: Constant) -> Rationals:
    return Rationals.of(constant.array)


def _dense(op: Dense, x: Rationals) -> Rationals:
    weight = _constant(op.weight)
    product = Rationals(x.whole @ weight.whole.T, x.under * weight.under).scaled(Fraction(op.alpha))
    return (
        product if op.bias is None else product.plus(_constant(op.bias).scaled(Fraction(op.beta)))
    )


def _scale(op: Scale, x: Rationals) -> Rationals:
    return x.times(_constant(op.constant))


def _shift(op: Shift, x: Rationals) -> Rationals:
    mine, other = Fraction(-1 if op.negate else 1), Fraction(1 if op.negate else op.sign)
    return x.scaled(mine).plus(_constant(op.constant).scaled(other))


def _activation(op: Activation, x: Rationals) -> Rationals:
    if op.slope is not None:
        slope = _constant(op.slope)
        steep = x.times(slope)
        return Rationals(np.where(x.whole < 0, steep.whole, x.over(steep.under)), steep.under)
    return Rationals(KINKED[op.kind](x.whole), x.under)


def _clip(op: Clip, x: Rationals) -> Rationals:
    for bound, keep in ((op.low, np.maximum), (op.high, np.minimum)):
        if bound is not None:
            mine, other, under = together(x, _constant(bound))
            x = Rationals(keep(mine, other), under)
    return x


def _sum(op: Sum, *values: Rationals) -> Rationals:
    first, *others = (
        value.scaled(Fraction(sign)) for sign, value in zip(op.signs, values, strict=True)
    )
    for value in others:
        first = first.plus(value)
    return first


def _extreme(op: Extreme, *values: Rationals) -> Rationals:
    best, *others = values
    for value in others:
        mine, theirs, under = together(best, value)
        best = Rationals((np.maximum if op.kind == "Max" else np.minimum)(mine, theirs), under)
    return best


def _concatenation(op: Concatenation, *values: Rationals) -> Rationals:
    under = math.lcm(*(value.under for value in values))
    return Rationals(np.concatenate([value.over(under) for value in values], op.axis), under)


def _move(op: Move, x: Rationals) -> Rationals:
    whole = x.whole
    if op.reshape is not None:
        whole = whole.reshape(1, *op.reshape)
    if op.order is not None:
        whole = whole.transpose(op.order)
    if op.crop is not None:
        axis, start, stop = op.crop
        whole = whole.take(range(start, stop), axis=axis)
    return Rationals(whole, x.under)


def _selection(op: Selection, x: Rationals) -> Rationals:
    filling = Rationals.of(np.array([op.value]))
    whole, filled, under = together(x, filling)
    for axis, places in enumerate(op.indices, start=1):
        if places is not None:
            whole = _picked(whole, axis, places, filled_with=filled[0])
    return Rationals(whole, under)


def _picked(
    whole: np.ndarray, axis: int, places: tuple[int, ...], *, filled_with: int
) -> np.ndarray:
    """Entries of an axis by their places; at `PAD` a constant."""
    index = np.array(places)
    inside = (index != PAD).reshape(-1, *[1] * (whole.ndim - axis - 1))
    return np.where(inside, whole.take(np.maximum(index, 0), axis=axis), filled_with)


def _convolution(op: Convolution, x: Rationals) -> Rationals:
    kernel, axes = _constant(op.kernel), len(op.sides)
    begins, ends = op.pads[:axes], op.pads[axes:]
    sides = zip(x.whole.shape[2:], begins, ends, strict=True)
    image = np.zeros((x.whole.shape[1], *map(sum, sides)), dtype=object)
    inner = zip(begins, x.whole.shape[2:], strict=True)
    image[:, *(slice(begin, begin + side) for begin, side in inner)] = x.whole[0]
    taps = kernel.whole.shape[2:]
    by_group = kernel.whole.reshape(op.groups, -1, kernel.whole.shape[1], math.prod(taps))
    result = np.zeros((op.groups, by_group.shape[1], math.prod(op.windows)), dtype=object)
    for at, tap in enumerate(itertools.product(*map(range, taps))):
        part = image[
            :,
            *(
                slice(place * dilation, place * dilation + (count - 1) * stride + 1, stride)
                for place, dilation, count, stride in zip(
                    tap, op.dilations, op.windows, op.strides, strict=True
                )
            ),
        ]
        read = part.reshape(op.groups, by_group.shape[2], -1)
        for group in range(op.groups):
            result[group] += by_group[group, :, :, at] @ read[group]
    whole = Rationals(result.reshape(1, -1, *op.windows), x.under * kernel.under)
    if op.bias is None:
        return whole
    bias = _constant(op.bias)
    return whole.plus(Rationals(bias.whole.reshape(-1, *[1] * axes), bias.under))


def _gathered(op: Pooling, whole: np.ndarray, axis: int, *, filled_with: int) -> np.ndarray:
    """An axis as two: windows, and the entries of each."""
    windows = op.windows[axis - 1] or ()
    flat = tuple(entry for window in windows for entry in window)
    taken = _picked(whole, axis, flat, filled_with=filled_with)
    return taken.reshape(*whole.shape[:axis], len(windows), -1, *whole.shape[axis + 1 :])


def _max_pool(op: MaxPool, x: Rationals) -> Rationals:
    whole = x.whole
    for axis in op.pooled:
        below = whole.min() - 1
        whole = _gathered(op, whole, axis, filled_with=below).max(axis=axis + 1)
    return Rationals(whole, x.under)


def _average_pool(op: AveragePool, x: Rationals) -> Rationals:
    whole, under = x.whole, x.under
    for axis in op.pooled:
        whole = _gathered(op, whole, axis, filled_with=0).sum(axis=axis + 1)
        divisors = cast(tuple[int, ...], op.divisors[axis - 1])
        common = math.lcm(*divisors)
        factors = np.array([common // divisor for divisor in divisors], dtype=object)
        whole = whole * factors.reshape(-1, *[1] * (whole.ndim - axis - 1))
        under *= common
    return Rationals(whole, under)


def _reduction(op: Reduction, x: Rationals) -> Rationals:
    reduced, averages = REDUCED[op.kind]
    whole = reduced(x.whole, axis=op.axes, keepdims=op.keepdims)
    return Rationals(whole, x.under * (op.entries if averages else 1))


def _top_k(op: TopK, x: Rationals) -> Rationals:
    rising = np.sort(x.whole, axis=op.axis)
    inorder = np.flip(rising, op.axis) if op.largest else rising
    return Rationals(inorder.take(range(op.k), axis=op.axis), x.under)


def _product(_: Operator, *values: Rationals) -> Rationals:
    return values[0].times(values[-1])


RUN: dict[type[Operator], Callable[..., Rationals]] = {
    Dense: _dense,
    Scale: _scale,
    Shift: _shift,
    Activation: _activation,
    Clip: _clip,
    Sum: _sum,
    Extreme: _extreme,
    Concatenation: _concatenation,
    Move: _move,
    Selection: _selection,
    Convolution: _convolution,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    Reduction: _reduction,
    TopK: _top_k,
    Square: _product,
    Product: _product,
}
"""How each kind runs: from the operator and its operands, a batch of one, to its result."""
