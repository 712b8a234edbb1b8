"""Programs in 200-bit arithmetic, entry by entry, written without what the operators run."""

import itertools
import math

import mpmath
import numpy as np

from models.proof.operators.affine import Dense, Scale, Shift
from models.proof.operators.assumed import Softmax
from models.proof.operators.branches import Concatenation, Extreme, Sum
from models.proof.operators.convolution import Convolution, TransposedConvolution
from models.proof.operators.elementwise import Activation, Clip
from models.proof.operators.normalisation import BatchNormalization
from models.proof.operators.pooling import AveragePool, LpPool, MaxPool
from models.proof.operators.powers import Product, Root, Sign, Square
from models.proof.operators.reduction import Reduction
from models.proof.operators.routing import Move
from models.proof.operators.selection import Selection
from models.proof.operators.smooth import Smooth, ThresholdSoftplus
from models.proof.operators.sorting import TopK

mpmath.mp.prec = 200
ZERO = mpmath.mpf(0)


def big(array):
    """An array of exact 200-bit numbers."""
    stored = np.asarray(array)
    entries = [mpmath.mpf(float(value)) for value in stored.ravel()]
    return np.array(entries, dtype=object).reshape(stored.shape)


def exact_logits(program, image):
    """Logits of one image, in 200 bits."""
    values = {program.input_name: big(image[None])}
    for op in program.operators:
        values[op.result] = exact_operator(op, [values[name] for name in op.operands])
    return list(values[program.operators[-1].result][0])


def exact_operator(op, operands):
    """The result of an operator, for a batch of one."""
    x = operands[0]
    match op:
        case Dense():
            bias = mpmath.mpf(op.beta) * big(op.bias.array) if op.bias else ZERO
            return mpmath.mpf(op.alpha) * (x @ big(op.weight.array).T) + bias
        case Scale():
            return x / big(op.constant.array) if op.divide else x * big(op.constant.array)
        case Shift():
            b = big(op.constant.array)
            return b - x if op.negate else x + op.sign * b
        case Activation(slope=None):
            return each({"Relu": lambda v: max(v, ZERO), "Abs": abs, "Neg": lambda v: -v}[op.kind])(
                x
            )
        case Activation():
            return np.where(x >= 0, x, big(op.slope.array) * x)
        case Clip():
            above = x if op.low is None else np.maximum(x, big(op.low.array))
            return above if op.high is None else np.minimum(above, big(op.high.array))
        case Smooth():
            return each(lambda v: SMOOTH[op.kind](v, *map(mpmath.mpf, op.parameters)))(x)
        case ThresholdSoftplus():
            b = mpmath.mpf(op.steepness)
            softplus = each(lambda v: v if b * v > op.threshold else SMOOTH["Softplus"](b * v) / b)
            return softplus(x)
        case Softmax():
            powers = each(mpmath.exp)(x)
            return powers / powers.sum(axis=op.axis, keepdims=True)
        case Sum():
            return sum(sign * v for sign, v in zip(op.signs, operands, strict=True))
        case Extreme():
            return (np.maximum if op.kind == "Max" else np.minimum).reduce(operands)
        case Concatenation():
            return np.concatenate(operands, axis=op.axis)
        case Move(reshape=tuple()):
            return x.reshape(1, *op.reshape)
        case Move(order=tuple()):
            return x.transpose(op.order)
        case Move(crop=tuple()):
            return x.take(range(*op.crop[1:]), axis=op.crop[0])
        case Move():
            return x
        case Selection():
            return selected(op, x)
        case BatchNormalization():
            gamma, beta, mean, variance = (
                big(constant.array).reshape(-1, *[1] * (x.ndim - 2))
                for constant in (op.gamma, op.beta, op.mean, op.variance)
            )
            spread = each(mpmath.sqrt)(variance + mpmath.mpf(op.epsilon))
            return (x - mean) / spread * gamma + beta
        case Convolution() | TransposedConvolution():
            return convolved(op, x)
        case MaxPool() | AveragePool() | LpPool():
            return pooled(op, x)
        case Reduction():
            return reduced(op, x)
        case Square() | Product():
            return x * operands[-1]
        case Root():
            return each(mpmath.sqrt)(x)
        case Sign():
            return each(mpmath.sign)(x)
        case TopK():
            inorder = np.sort(x, axis=op.axis)
            return (np.flip(inorder, op.axis) if op.largest else inorder).take(range(op.k), op.axis)
    raise TypeError(op)


SMOOTH = {
    "Tanh": mpmath.tanh,
    "Sigmoid": lambda v: 1 / (1 + mpmath.exp(-v)),
    "Softplus": lambda v: mpmath.log(1 + mpmath.exp(v)),
    "LogSigmoid": lambda v: -mpmath.log(1 + mpmath.exp(-v)),
    "Softsign": lambda v: v / (1 + abs(v)),
    "Erf": mpmath.erf,
    "Atan": mpmath.atan,
    "Sin": mpmath.sin,
    "Cos": mpmath.cos,
    "Gelu": lambda v, c, b: c * v * mpmath.erfc(-b * v),
    "GeluTanh": lambda v, c, s, q: c * v * (1 + mpmath.tanh(s * v + q * v**3)),
    "Silu": lambda v, c, b: c * v / (1 + mpmath.exp(-b * v)),
    "Mish": lambda v, c: c * v * mpmath.tanh(mpmath.log(1 + mpmath.exp(v))),
    "HardSwish": lambda v, c, a, b: c * v * min(max(a * v + b, ZERO), mpmath.mpf(1)),
    "Elu": lambda v, alpha: v if v > 0 else alpha * mpmath.expm1(v),
    "Selu": lambda v, alpha, gamma: gamma * (v if v > 0 else alpha * mpmath.expm1(v)),
    "Celu": lambda v, alpha: v if v > 0 else alpha * mpmath.expm1(v / alpha),
}


def each(function):
    """A function of each entry."""
    return np.vectorize(function, otypes=[object])


def selected(op, x):
    """Each entry fetched by its place."""
    axes = [
        range(side) if places is None else places
        for side, places in zip(x.shape[1:], op.indices, strict=True)
    ]
    result = np.empty((1, *map(len, axes)), dtype=object)
    for at in np.ndindex(result.shape[1:]):
        source = tuple(places[place] for places, place in zip(axes, at, strict=True))
        result[0, *at] = mpmath.mpf(op.value) if -1 in source else x[0, *source]
    return result


def convolved(op, x):
    """Each product of an entry with a tap, added where it belongs."""
    kernel, count = big(op.kernel.array), len(op.strides)
    transposed = isinstance(op, TransposedConvolution)
    out = kernel.shape[1] * op.groups if transposed else kernel.shape[0]
    read, written = x.shape[1] // op.groups, out // op.groups
    sides = op.sides if transposed else op.windows
    result = np.full((1, out, *sides), ZERO, dtype=object)
    geometry = list(zip(op.strides, op.dilations, op.pads[:count], strict=True))
    windows = x.shape[2:] if transposed else sides
    for window, tap in itertools.product(np.ndindex(windows), np.ndindex(kernel.shape[2:])):
        entry = tuple(
            w * s + t * d - p for w, t, (s, d, p) in zip(window, tap, geometry, strict=True)
        )
        source, target = (window, entry) if transposed else (entry, window)
        inside = result.shape[2:] if transposed else x.shape[2:]
        if not all(0 <= at < side for at, side in zip(entry, inside, strict=True)):
            continue
        for group in range(op.groups):
            here = slice(group * written, (group + 1) * written)
            there = slice(group * read, (group + 1) * read)
            weights = kernel[there, :, *tap].T if transposed else kernel[here, :, *tap]
            result[0, here, *target] += weights @ x[0, there, *source]
    bias = big(op.bias.array) if op.bias else np.full(out, ZERO, dtype=object)
    return result + bias.reshape(-1, *[1] * count)


def pooled(op, x):
    """Each window walked over."""
    axes = [
        [(entry,) for entry in range(side)] if windows is None else windows
        for side, windows in zip(x.shape[1:], op.windows, strict=True)
    ]
    result = np.empty((1, *map(len, axes)), dtype=object)
    for at in np.ndindex(result.shape[1:]):
        window = [
            x[0, *source]
            for source in itertools.product(*(a[place] for a, place in zip(axes, at, strict=True)))
            if -1 not in source
        ]
        match op:
            case MaxPool():
                result[0, *at] = max(window)
            case LpPool():
                result[0, *at] = mpmath.sqrt(sum(v * v for v in window))
            case AveragePool():
                pairs = zip(op.divisors, at, strict=True)
                divisor = math.prod(found[place] for found, place in pairs if found is not None)
                result[0, *at] = sum(window) / divisor
    return result


def reduced(op, x):
    """Each group of entries reduced."""
    total = lambda v: v.sum(axis=op.axes, keepdims=op.keepdims)  # noqa: E731
    match op.kind:
        case "ReduceMax" | "GlobalMaxPool":
            return np.asarray(x.max(axis=op.axes, keepdims=op.keepdims))
        case "ReduceMin":
            return np.asarray(x.min(axis=op.axes, keepdims=op.keepdims))
        case "ReduceSum":
            return total(x)
        case "ReduceL2":
            return each(mpmath.sqrt)(total(x * x))
    return total(x) / math.prod(x.shape[axis] for axis in op.axes)
