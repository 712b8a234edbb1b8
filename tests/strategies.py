"""Random ONNX files, drawn from the whole table of operators, for rows and for images.

A drawn file is small, so that ascent and 200-bit arithmetic are quick.  Each step changes the
current tensor; a rank of 2 is a batch of rows, one of 4 a batch of images.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import hypothesis
import numpy as np
from hypothesis import strategies as st
from onnx import helper

from tests.oracles import onnx_file

FUZZING = hypothesis.settings.default.max_examples >= 1000
MOST_ENTRIES = 200
OPSET = 22
SMOOTH = (
    "Tanh", "Sigmoid", "Softplus", "Softmax", "Softsign", "Erf", "Atan", "Sin", "Cos", "Elu",
    "Selu", "Celu", "Gelu", "Mish", "HardSwish", "HardSigmoid",
)  # fmt: skip
UNROUNDED = (*SMOOTH[:-1], "Silu", "GeluTanh", "LogSigmoid", "LpPool", "ReduceL2")
"""Operators without a float32 rule, as a program calls them; a root by Pow has none either."""


def draws(*, test: int, fuzz: int) -> hypothesis.settings:
    """How many examples are drawn, while testing and under `make fuzz`."""
    return hypothesis.settings(max_examples=fuzz if FUZZING else test)


@dataclass
class Sketch:
    """A graph in the making: nodes so far, and the current tensor with its example's shape."""

    rng: np.random.Generator
    shape: tuple[int, ...]
    current: str = "x"
    nodes: list = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def weight(self, array):
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(array, dtype=np.float32)
        return name

    def noise(self, *shape):
        return self.weight(self.rng.standard_normal(shape))

    def whole(self, *values):
        name = f"i{len(self.weights)}"
        self.weights[name] = np.array(values, dtype=np.int64)
        return name

    def below(self, limit, low=0):
        return int(self.rng.integers(low, limit))

    def pick(self, *options):
        return options[self.below(len(options))]

    def axis(self):
        return self.below(len(self.shape)) + 1

    def add(self, kind, *operands, outputs=1, **attributes):
        """A node; its first result."""
        names = [f"t{len(self.nodes)}_{at}" for at in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(operands), names, **attributes))
        return names[0]

    def then(self, kind, *operands, shape=None, **attributes):
        """A node after the current tensor, which it reads first."""
        self.current = self.add(kind, self.current, *operands, **attributes)
        self.shape = self.shape if shape is None else tuple(shape)

    def with_side(self, axis, side):
        return (*self.shape[: axis - 1], side, *self.shape[axis:])

    def constant(self, draw=None):
        """A constant that broadcasts to the current tensor along some axes."""
        shape = [side if self.below(2) else 1 for side in self.shape]
        return self.weight((draw or self.rng.standard_normal)((1, *shape)))


def linear(s: Sketch) -> None:
    width = s.shape[-1]
    s.then("MatMul", s.noise(width, s.pick(width, 3)), shape=(*s.shape[:-1], 0))
    s.shape = (*s.shape[:-1], s.weights[s.nodes[-1].input[1]].shape[1])


def gemm(s: Sketch) -> None:
    if len(s.shape) > 1:
        s.then("Flatten", shape=(int(np.prod(s.shape)),))
    width = s.pick(3, 4, 6)
    factors = s.pick({}, {"alpha": -0.7}, {"alpha": 1.5, "beta": 0.25})
    s.then("Gemm", s.noise(s.shape[0], width), s.noise(width), shape=(width,), **factors)


def arithmetic(s: Sketch) -> None:
    kind = s.pick("Add", "Sub", "Mul", "Div", "Max", "Min")
    s.then(kind, s.constant((lambda shape: 0.5 + s.rng.random(shape)) if kind == "Div" else None))


def enlarged(s: Sketch) -> None:
    ones = [at for at, side in enumerate(s.shape) if side == 1]
    if ones:
        shape = s.with_side(ones[0] + 1, 3)
        s.then(s.pick("Add", "Mul", "Max", "Sub"), s.noise(1, *shape), shape=shape)


def kinked(s: Sketch) -> None:
    kind = s.pick("Relu", "Abs", "Neg", "LeakyRelu", "PRelu", "Clip", "Clip below")
    match kind:
        case "PRelu":
            s.then(kind, s.constant())
        case "Clip":
            s.then(kind, s.weight(-0.6), s.weight(0.4))
        case "Clip below":
            s.then("Clip", s.weight(0.1))
        case _:
            s.then(kind)


def smooth(s: Sketch) -> None:
    kind = s.pick(*SMOOTH)
    attributes = {"Softmax": {"axis": s.axis()}}
    for name in ("Elu", "Celu"):
        attributes[name] = {"alpha": s.pick(0.5, 1.0, 1.7)}
    attributes["Selu"] = s.pick({}, {"alpha": 0.8, "gamma": 1.2})
    attributes["Gelu"] = {"approximate": s.pick("none", "tanh")}
    attributes["HardSigmoid"] = s.pick({}, {"alpha": -0.7, "beta": 0.3})
    s.then(kind, **attributes.get(kind, {}))


def gated(s: Sketch) -> None:
    """A product of activations as exporters write it, with numbers here and there."""
    x = s.current
    scaled = s.add("Mul", x, s.weight(s.pick(0.5, -1.3))) if s.below(2) else x
    match s.pick("silu", "gelu", "gelu by tanh", "mish", "hard swish", "softsign", "log sigmoid"):
        case "silu":
            gate = s.add("Sigmoid", scaled)
        case "gelu":
            gate = s.add("Add", s.add("Erf", scaled), s.weight(1))
        case "gelu by tanh":
            cube = s.add("Pow", x, s.weight(3))
            plain = s.add("Add", x, s.add("Mul", cube, s.weight(0.044715)))
            inner = s.add("Mul", plain, s.weight(0.7978845608))
            gate = s.add("Add", s.weight(1), s.add("Tanh", inner))
        case "mish":
            gate = s.add("Tanh", s.add("Softplus", x))
        case "hard swish":
            gate = s.add("Clip", s.add("Add", x, s.weight(1.5)), s.weight(0), s.weight(3))
        case "softsign":
            divisor = s.add("Add", s.add("Abs", x), s.weight(1))
            s.current = s.add("Div", x, divisor)
            return
        case "log sigmoid":
            s.current = s.add("Log", s.add("Sigmoid", scaled))
            return
    operands = (gate, x) if s.below(2) else (x, gate)
    s.current = s.add("Mul", *operands)


def reshaped(s: Sketch) -> None:
    """Other shapes of the same entries, and operators that do nothing."""
    match s.pick("Squeeze", "Unsqueeze", "Reshape", "Expand", "Identity", "Dropout"):
        case "Squeeze" if 1 in s.shape and len(s.shape) > 1:
            axis = s.shape.index(1) + 1
            s.then("Squeeze", s.whole(axis), shape=(*s.shape[: axis - 1], *s.shape[axis:]))
        case "Unsqueeze" if len(s.shape) < 3:
            axis = s.axis()
            shape = (*s.shape[: axis - 1], 1, *s.shape[axis - 1 :])
            s.then("Unsqueeze", s.whole(axis), shape=shape)
        case "Reshape":
            shape = (s.shape[-1], int(np.prod(s.shape[:-1])))
            s.then("Reshape", s.whole(s.pick(0, -1), *shape), shape=shape)
        case "Expand" if 1 in s.shape:
            axis = s.shape.index(1) + 1
            shape = s.with_side(axis, 2)
            s.then("Expand", s.whole(1, *shape), shape=shape)
        case "Dropout":
            s.then("Dropout")
        case _:
            s.then("Identity")


def branched(s: Sketch) -> None:
    width = s.shape[-1]
    branch = s.add("Relu", s.add("MatMul", s.current, s.noise(width, width)))
    match s.pick("Add", "Sub", "Sum", "Max", "Min", "Concat", "twice"):
        case "Sum":
            s.then("Sum", branch, s.current)
        case "Concat":
            axis = s.axis()
            s.then("Concat", branch, axis=axis, shape=s.with_side(axis, 2 * s.shape[axis - 1]))
        case "twice":
            axis = s.axis()
            s.then("Concat", s.current, axis=axis, shape=s.with_side(axis, 2 * s.shape[axis - 1]))
        case kind:
            s.then(kind, branch)


def paired(s: Sketch) -> None:
    """MaxMin, perhaps with a slice beside it, or with one of its halves read twice."""
    axis = s.axis()
    rest = s.shape[axis - 1] % 2
    half = s.shape[axis - 1] // 2
    if half:
        parts = [half, half, rest] if rest else [half, half]
        a = s.add("Split", s.current, s.whole(*parts), outputs=len(parts), axis=axis)
        b, *left = s.nodes[-1].output[1:]
        high, low = s.add("Max", a, b), s.add("Min", b, a)
        last = s.add("Abs", low) if s.below(3) == 0 else low
        s.current = s.add("Concat", high, last, *left, axis=axis)


def rooted(s: Sketch) -> None:
    """L2 pooling in pieces."""
    axis = s.axis()
    squares = s.add(*s.pick(("Pow", s.current, s.weight(2)), ("Mul", s.current, s.current)))
    total = s.add(s.pick("ReduceSum", "ReduceMean"), squares, s.whole(axis))
    if s.below(3) == 0:  # the sign of what is not negative, as an Lp pooling is exported
        size = s.add("Relu", s.add("Abs", total))
        total = s.add("Mul", s.add("Sign", total), size)
    for kind in s.pick((), ("Mul",), ("Add",), ("Div", "Add")):
        total = s.add(kind, total, s.weight(s.rng.random()))
    root = s.pick(("Sqrt", total), ("Pow", total, s.weight(0.5)))
    s.current, s.shape = s.add(*root), s.with_side(axis, 1)


def layered(s: Sketch) -> None:
    """A residual layer after SLL."""
    A = s.rng.standard_normal((s.pick(2, 4), s.shape[-1])).astype(np.float32)
    B = A * (s.pick(1, 2, 3) / np.abs(A @ A.T).sum(axis=1))[:, None]
    hidden = s.add("MatMul", s.current, s.weight(A.T))
    bent = s.add("Relu", s.add("Add", hidden, s.noise(len(A))))
    s.current = s.add("Sub", s.current, s.add("MatMul", bent, s.weight(B)))


def mean_taken_off(s: Sketch) -> None:
    """A branch that an axis makes larger."""
    axis = s.axis()
    mean = s.add("ReduceMean", s.current, s.whole(axis))
    s.then("Sub", mean)


def split(s: Sketch) -> None:
    axis = s.axis()
    side = s.shape[axis - 1]
    if side > 1:
        first = s.add("Split", s.current, s.whole(1, side - 1), outputs=2, axis=axis)
        second = s.nodes[-1].output[1]
        s.current = s.add("Concat", second, s.add("Abs", first), axis=axis)


def turned(s: Sketch) -> None:
    order = s.rng.permutation(len(s.shape))
    s.then("Transpose", perm=[0, *(int(at) + 1 for at in order)], shape=[s.shape[a] for a in order])


def picked(s: Sketch) -> None:
    axis = s.axis()
    side = s.shape[axis - 1]
    match s.pick("Slice", "Gather", "Tile", "Pad", "Resize", "scalar"):
        case "Slice":
            step = s.pick(-2, -1, 1, 2)
            start, end = (s.below(side), side) if step > 0 else (side - 1, -side - 1)
            count = len(range(*slice(start, end if step > 0 else None, step).indices(side)))
            weights = [s.whole(value) for value in (start, end, axis, step)]
            s.then("Slice", *weights, shape=s.with_side(axis, count))
        case "Gather":
            places = s.rng.integers(-side, side, s.below(5, low=1))
            s.then("Gather", s.whole(*places), axis=axis, shape=s.with_side(axis, len(places)))
        case "scalar" if len(s.shape) > 1:
            s.weights[f"i{len(s.weights)}"] = np.array(s.below(side), dtype=np.int64)
            s.then("Gather", list(s.weights)[-1], axis=axis)
            s.shape = (*s.shape[: axis - 1], *s.shape[axis:])
        case "Tile":
            repeats = [1] * (len(s.shape) + 1)
            repeats[axis] = 2
            s.then("Tile", s.whole(*repeats), shape=s.with_side(axis, 2 * side))
        case "Resize":
            scales = [1] * (len(s.shape) + 1)
            scales[axis] = s.pick(2, 3)
            s.then("Resize", "", s.weight(scales), nearest_mode="floor",
                   coordinate_transformation_mode="asymmetric",
                   shape=s.with_side(axis, scales[axis] * side))  # fmt: skip
        case "Pad":
            mode = s.pick("constant", "edge", "reflect", "wrap")
            widths = [s.below(min(side, 3)), s.below(min(side, 3))]
            value = s.noise() if mode == "constant" else ""
            s.then("Pad", s.whole(*widths), value, s.whole(axis), mode=mode,
                   shape=s.with_side(axis, side + sum(widths)))  # fmt: skip


def blocks(s: Sketch) -> None:
    if len(s.shape) != 3:
        return
    channels, height, width = s.shape
    if channels % 4 == 0:
        shape = (channels // 4, 2 * height, 2 * width)
        s.then("DepthToSpace", blocksize=2, mode=s.pick("DCR", "CRD"), shape=shape)
    elif height % 2 == width % 2 == 0:
        s.then("SpaceToDepth", blocksize=2, shape=(4 * channels, height // 2, width // 2))


def convolved(s: Sketch) -> None:
    channels, *sides = s.shape
    if len(sides) not in (1, 2):
        return
    count, groups = len(sides), s.pick(1, 1, channels)
    taps, strides, dilations = ([s.pick(1, 2, top) for _ in sides] for top in (3, 2, 1))
    pads = [s.below(2) for _ in range(2 * count)]
    reaches = [(k - 1) * d + 1 for k, d in zip(taps, dilations, strict=True)]
    spans = [reach - sum(pads[at::count]) for at, reach in enumerate(reaches)]
    if s.below(2):
        kind, kernel = "Conv", (groups * s.pick(1, 2), channels // groups, *taps)
        rows = zip(sides, spans, strides, strict=True)
        result = [(side - span) // step + 1 for side, span, step in rows]
    else:
        kind, kernel = "ConvTranspose", (channels, s.pick(1, 2), *taps)
        rows = zip(sides, spans, strides, strict=True)
        result = [(side - 1) * step + span for side, span, step in rows]
    out = kernel[0] if kind == "Conv" else kernel[1] * groups
    if min(result) >= 1:
        s.then(kind, s.noise(*kernel), s.noise(out), strides=strides, dilations=dilations,
               pads=pads, group=groups, shape=(out, *result))  # fmt: skip


def normalised(s: Sketch) -> None:
    if len(s.shape) > 1:
        channels = s.shape[0]
        moments = [s.noise(channels) for _ in range(3)]
        s.then("BatchNormalization", *moments, s.weight(0.1 + s.rng.random(channels)))


def pooled(s: Sketch) -> None:
    sides = s.shape[1:]
    if len(sides) not in (1, 2):
        return
    kind = s.pick("MaxPool", "AveragePool", "LpPool")
    kernel = [min(side, s.pick(2, 3)) for side in sides]
    strides = [s.pick(1, 2) for _ in sides]
    pads = [s.below(k) for k in kernel * 2] if s.below(2) else [0] * (2 * len(sides))
    ceil = s.below(2) if kind == "MaxPool" else 0
    counts = {"count_include_pad": s.below(2)} if kind == "AveragePool" else {}
    counted = []
    for side, k, step, before, behind in zip(
        sides, kernel, strides, pads, pads[len(sides) :], strict=False
    ):
        free = side + before + behind - k
        counted.append((-(-free // step) if ceil else free // step) + 1)
        if (counted[-1] - 1) * step - before >= side:
            return  # a window of padding alone
    s.then(kind, kernel_shape=kernel, strides=strides, pads=pads, shape=(s.shape[0], *counted),
           **({"ceil_mode": ceil} if ceil else {}), **counts)  # fmt: skip


def reduced(s: Sketch) -> None:
    kind = s.pick("ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum", "ReduceL2", "Global")
    if kind == "Global":
        if len(s.shape) > 1:
            shape = (s.shape[0], *(1 for _ in s.shape[1:]))
            s.then(s.pick("GlobalMaxPool", "GlobalAveragePool"), shape=shape)
        return
    axis = s.axis()
    keep = 1 if len(s.shape) == 1 else s.below(2)
    shape = s.with_side(axis, 1) if keep else (*s.shape[: axis - 1], *s.shape[axis:])
    s.then(kind, s.whole(axis), keepdims=keep, shape=shape)


def sorted_(s: Sketch) -> None:
    axis = s.axis()
    k = s.below(s.shape[axis - 1] + 1, low=1)
    s.then("TopK", s.whole(k), axis=axis, largest=s.below(2), outputs=2,
           shape=s.with_side(axis, k))  # fmt: skip


STEPS: tuple[Callable[[Sketch], None], ...] = (
    linear, gemm, arithmetic, enlarged, kinked, smooth, branched, mean_taken_off, split, turned,
    picked, blocks, convolved, normalised, pooled, reduced, sorted_, paired, rooted, layered,
    gated, reshaped,
)  # fmt: skip


@st.composite
def programs(draw, *, steps=STEPS):
    """An ONNX file of up to 6 steps: chains and branches of rows and images, and a head or none."""
    s = Sketch(
        rng=np.random.default_rng(draw(st.integers(0, 2**32 - 1))),
        shape=draw(st.sampled_from([(6,), (2, 5), (1, 4, 4), (4, 2, 3), (2, 3, 2)])),
    )
    shape = s.shape
    for step in draw(st.lists(st.sampled_from(steps), min_size=1, max_size=6)):
        before = s.current, s.shape, len(s.nodes)
        step(s)
        if np.prod(s.shape) > MOST_ENTRIES:
            s.current, s.shape = before[:2]
            del s.nodes[before[2] :]
    if len(s.shape) > 1:
        s.then("Flatten", shape=(int(np.prod(s.shape)),))
    if draw(st.booleans()) or s.shape[0] < 2:
        s.nodes.append(helper.make_node("Gemm", [s.current, s.noise(s.shape[0], 3)], ["logits"]))
    else:
        s.nodes.append(helper.make_node("Identity", [s.current], ["logits"]))
    used = {name for node in s.nodes for name in node.input}
    weights = {name: array for name, array in s.weights.items() if name in used}
    return onnx_file(s.nodes, shape=shape, weights=weights, opset=OPSET)
