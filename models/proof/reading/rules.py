"""The table of ONNX operators that have a rule; everything that is not in it is refused."""

from collections.abc import Callable

import onnx
from onnx import helper

from models.proof.operators.operator import Operator
from models.proof.reading import (
    affine,
    branches,
    convolution,
    elementwise,
    indexing,
    pooling,
    powers,
    reduction,
    resizing,
    routing,
    selection,
    sorting,
)
from models.proof.reading.folding import (
    SHAPE_KINDS,
    constant_value,
    folded_constant,
    shape_of,
)
from models.proof.reading.node import Activations, Constants, Node


def lower_node(
    proto: onnx.NodeProto, constants: Constants, shapes: Activations, *, batch: int | None
) -> list[Operator]:
    """Operators that compute a node, or none where it was folded into `constants`.

    Args:
        proto: of the file.
        constants: so far; a node that the file fixes is added.
        shapes: of the activations so far, batch left out.
        batch: the length that the file fixes for it, if it does.
    """
    node = Node(
        name=proto.name or proto.output[0],
        kind=proto.op_type,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={entry.name: helper.get_attribute_value(entry) for entry in proto.attribute},
        constants=constants,
        shapes=shapes,
        batch=batch,
    )
    if node.kind == "Constant":
        constants[node.outputs[0]] = constant_value(node)
        return []
    if node.kind == "Shape" and not node.is_constant(0):
        constants[node.outputs[0]] = shape_of(node)
        return []
    if all(name in constants for name in node.inputs if name):
        constants[node.outputs[0]] = folded_constant(node)
        return []
    lower = _LOWER.get(node.kind) or _LOWER_MERGED.get(node.kind)
    if lower is None:
        raise node.refuse("an operand that depends on the input", "shapes and whole numbers alone")
    return lower(node)


_LOWER: dict[str, Callable[[Node], list[Operator]]] = {
    "Add": affine.add_or_subtract,
    "Sub": affine.add_or_subtract,
    "Sum": affine.add_or_subtract,
    "Max": branches.extreme,
    "Min": branches.extreme,
    "Concat": branches.concat,
    "Mul": affine.scale,
    "Div": affine.scale,
    "Gemm": affine.gemm,
    "Conv": convolution.convolution,
    "ConvTranspose": convolution.transposed_convolution,
    "BatchNormalization": convolution.batch_normalization,
    "MatMul": affine.matmul,
    "Relu": elementwise.activation,
    "Abs": elementwise.activation,
    "Neg": elementwise.activation,
    "LeakyRelu": elementwise.activation,
    "PRelu": elementwise.activation,
    "Clip": elementwise.clip,
    "Tanh": elementwise.smooth,
    "Sigmoid": elementwise.smooth,
    "Softplus": elementwise.smooth,
    "Softsign": elementwise.smooth,
    "Erf": elementwise.smooth,
    "Atan": elementwise.smooth,
    "Sin": elementwise.smooth,
    "Cos": elementwise.smooth,
    "Elu": elementwise.exponential,
    "Selu": elementwise.exponential,
    "Celu": elementwise.exponential,
    "Gelu": elementwise.gelu,
    "Mish": elementwise.mish,
    "HardSwish": elementwise.hard_swish,
    "HardSigmoid": elementwise.hard_sigmoid,
    "Softmax": elementwise.softmax,
    "Reshape": routing.reshape,
    "Flatten": routing.flatten,
    "Squeeze": routing.squeeze,
    "Unsqueeze": routing.squeeze,
    "Transpose": routing.transpose,
    "Identity": routing.identity,
    "Dropout": routing.identity,
    "Split": routing.split,
    "DepthToSpace": routing.depth_to_space,
    "SpaceToDepth": routing.depth_to_space,
    "Slice": selection.slice_,
    "Gather": selection.gather,
    "Expand": selection.expand,
    "Tile": selection.tile,
    "Pad": selection.pad,
    "Resize": resizing.resize,
    "MaxPool": pooling.max_pool,
    "AveragePool": pooling.average_pool,
    "LpPool": pooling.lp_pool,
    "GlobalMaxPool": reduction.global_pool,
    "GlobalAveragePool": reduction.global_pool,
    "ReduceMax": reduction.reduction,
    "ReduceMin": reduction.reduction,
    "ReduceMean": reduction.reduction,
    "ReduceSum": reduction.reduction,
    "ReduceL2": reduction.reduction,
    "TopK": sorting.top_k,
    "Pow": powers.power,
    "Sqrt": powers.root,
    "Sign": powers.sign,
}

_LOWER_MERGED: dict[str, Callable[[Node], list[Operator]]] = {
    "Silu": elementwise.smooth,
    "GeluTanh": elementwise.smooth,
    "LogSigmoid": elementwise.smooth,
    "ThresholdSoftplus": elementwise.threshold_softplus,
    "Index": indexing.index,
}
"""Kinds that groups of nodes are made, and that the ONNX checker refuses in a file."""

KNOWN_KINDS = frozenset(_LOWER) | SHAPE_KINDS
MERGED_KINDS = frozenset(_LOWER_MERGED)
