"""Operators without a rule: all of a file's at once, with reasons and what would do instead."""

from collections.abc import Collection, Iterator, Sequence

import onnx

from models.errors import ModelError

STANDARD = ("", "ai.onnx")
NORMALISING = (
    "divides by a size of its own input, so no bound holds for inputs near zero; accepted instead "
    "are BatchNormalization in inference and x less its mean"
)
MULTIPLYING = (
    "multiplies what depends on the input by what does, so it grows without bound; accepted "
    "instead are products with constants"
)
JUMPING = "jumps, so no bound holds; accepted instead are Relu, Clip, Max, Min and smooth functions"
STEEP = "has no steepest slope; accepted instead are Tanh, Sigmoid, Softplus and the like"
BRANCHING = (
    "runs other graphs, so the file's function is not fixed; accepted is a file exported for one "
    "path, without control flow"
)
RECURRENT = "multiplies gates by states; accepted instead are convolutions and dense layers"
ROUNDING = "rounds, so it jumps; accepted is the file as it was before quantisation"
RANDOM = "is random; accepted is a file exported for inference"
REASONS = {
    "LayerNormalization InstanceNormalization GroupNormalization LpNormalization "
    "RMSNormalization MeanVarianceNormalization LRN": NORMALISING,
    "Attention Einsum RotaryEmbedding": MULTIPLYING,
    "Where Greater GreaterOrEqual Less LessOrEqual Equal Not And Or Round Floor Ceil Mod "
    "ThresholdedRelu Shrink ArgMax ArgMin Hardmax NonZero OneHot IsNaN IsInf": JUMPING,
    "Exp Log Reciprocal Tan Asin Acos Acosh Atanh Sinh Cosh": STEEP,
    "LogSoftmax": "stretches by more the more classes there are; accepted is one at the end alone",
    "If Loop Scan SequenceMap Optional": BRANCHING,
    "RNN LSTM GRU": RECURRENT,
    "QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul MatMulInteger "
    "ConvInteger": ROUNDING,
    "RandomNormal RandomUniform RandomNormalLike RandomUniformLike Bernoulli Multinomial": RANDOM,
    "Cast CastLike": "changes the type; accepted are activations of float32 throughout",
    "GatherND GatherElements ScatterND ScatterElements": (
        "picks entries in a way that may mix the batch; accepted instead are Slice and Gather"
    ),
}
_REASON = {kind: reason for kinds, reason in REASONS.items() for kind in kinds.split()}
FOREIGN = (
    "belongs to one runtime; accepted is the file before that runtime's optimisation, with "
    "standard operators"
)
OWN = "the file defines functions of its own: {}; accepted is a file with them inlined"


def check_kinds(
    nodes: Sequence[onnx.NodeProto],
    functions: Sequence[onnx.FunctionProto],
    *,
    known: Collection[str],
    listed: Collection[str],
) -> None:
    """Refuse all nodes without a rule at once, and functions that a file defines.

    Args:
        nodes: that the logits depend on.
        functions: of the file; they may stand for any operator, so none is accepted.
        known: operators that have a rule.
        listed: those of them that a message names.

    Raises:
        ModelError: With name and operator of each, why, and what is accepted.
    """
    own = {(function.domain, function.name) for function in functions}
    offenders = [
        node
        for node in nodes
        if (node.domain, node.op_type) not in own
        and (node.domain not in STANDARD or node.op_type not in known)
    ]
    parts = []
    if offenders:
        names = ", ".join(f"{node.name or node.output[0]} ({_kind(node)})" for node in offenders)
        parts.append(f"no Lipschitz bound is known for {names}")
        parts += _reasons(offenders)
    if functions:
        callers = ", ".join(
            f"{node.name or node.output[0]} ({_kind(node)})"
            for node in nodes
            if (node.domain, node.op_type) in own
        )
        names = ", ".join(function.name for function in functions)
        parts.append(OWN.format(f"{names}, called by {callers}" if callers else names))
    if offenders:
        parts.append(f"known operators are {', '.join(sorted(listed))}")
    if parts:
        raise ModelError("; ".join(parts))


def _kind(node: onnx.NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else str(node.op_type)


def _reasons(offenders: Sequence[onnx.NodeProto]) -> Iterator[str]:
    """Each reason once, with the operators that it is of."""
    kinds: dict[str, list[str]] = {}
    for node in offenders:
        reason = _REASON.get(node.op_type) if node.domain in STANDARD else FOREIGN
        if reason is not None:
            kinds.setdefault(reason, []).append(_kind(node))
    for reason, found in kinds.items():
        yield f"{', '.join(dict.fromkeys(found))}: {reason}"
