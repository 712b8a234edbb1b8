"""The sealed file: do its outputs compute what this format says, from tables that are proved?

Radii that are right on the certified images say nothing of a new one: a forged file could know
those images by heart.  So each output is read back as a formula and compared, operator by operator,
with the one that is written here; then every constant of it is held against what it stands for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from models.audit.arithmetic import above
from models.audit.documents import Documents
from models.audit.onnx_file import parsed
from models.certificate_format import model_metadata
from models.errors import VerificationError

Limit = float | np.ndarray
PREFIX = "certificate/"
ROOM = 1 - 2.0**-20
INFLATED = 1 + 2.0**-20
FLOAT32_UNIT, FLOAT32_SMALLEST = 2.0**-24, 2.0**-126
LEAST_SLACK = 2.0**-23
OUTPUTS = ("radius", "radius_float32")

CAPS = [f"{name}_{part}" for name in OUTPUTS for part in ("zero", "largest", "diameter")]
TABLES = ("L", "own", "slack", "A", "B", "C", "g", "darkest", "brightest", *CAPS)
NOT_OURS = "?"
DEEPEST, LONGEST = 30, 20_000
"""Operators, and letters, of a formula; more of them are no formula of ours."""

LABEL = "ArgMax(logits;axis=1,keepdims=0)"
GAPS = "Sub(ReduceMax(logits,[1];keepdims=1),logits)"
INSIDE = "Equal(ReduceSum(Abs(Sub(x,Clip(x,darkest,brightest))),{axes};keepdims=0),darkest)"
NORM = "Sqrt(ReduceSum(Mul(Flatten(x;axis=1),Flatten(x;axis=1)),[1];keepdims=1))"


@dataclass(frozen=True)
class Sealed:
    """A sealed file, as far as its certificate goes.

    Attributes:
        outputs: formula of each, by name, in the file's order.
        constants: initialisers of the formulas, by name without the prefix.
        metadata: the file's own words.
    """

    outputs: dict[str, str]
    constants: dict[str, np.ndarray]
    metadata: dict[str, str]


def read_sealed(content: bytes) -> Sealed:
    """Read the formulas of a file's outputs.

    Raises:
        VerificationError: If it is no model of one float32 input, or holds data of other files.
    """
    model = parsed(content)
    graph = model.graph
    _check_container(model)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node if len(node.output) == 1}
    texts = {"logits": "logits", graph.input[0].name: "x"}
    texts |= {name: _constant(name, values) for name, values in stored.items()}

    def formula(name: str, depth: int) -> str:
        if name not in texts:
            if name not in made or depth > DEEPEST:
                return NOT_OURS
            operands = [formula(operand, depth + 1) for operand in made[name].input]
            texts[name] = _call(made[name], operands)
        return texts[name] if len(texts[name]) < LONGEST else NOT_OURS

    return Sealed(
        {value.name: formula(value.name, 0) for value in graph.output},
        {n.removeprefix(PREFIX): a for n, a in stored.items() if n.startswith(PREFIX)},
        {entry.key: entry.value for entry in model.metadata_props},
    )


def check_sealed(sealed: Sealed, documents: Documents, pairs: np.ndarray) -> None:
    """The file says, computes and divides by what was certified.

    Args:
        sealed: what was read of it.
        documents: what is claimed.
        pairs: bounds for each two classes, the larger of the audit's own and the claimed.

    Raises:
        VerificationError: Naming the first word, formula or constant that is another one.
    """
    certificate = documents.certificate
    words = model_metadata(
        classes=certificate.classes,
        lipschitz_bound=certificate.lipschitz_bound,
        job_sha256=certificate.job_sha256,
        program_sha256=certificate.program_sha256,
    )
    for key in sorted(words.keys() | sealed.metadata.keys()):
        if sealed.metadata.get(key) != words.get(key):
            raise VerificationError(f"sealed file: {key} of its metadata is not the certificate's")
    wanted = _formulas(rank=len(certificate.input_shape) + 1, float32=bool(documents.proof.float32))
    if list(sealed.outputs) != list(wanted):
        raise VerificationError(f"sealed file: its outputs are not {', '.join(wanted)}")
    for name, formula in wanted.items():
        if sealed.outputs[name] != formula:
            raise VerificationError(f"sealed file: {name} is not the formula of this format")
    _check_constants(sealed.constants, documents, pairs)


def _check_container(model: onnx.ModelProto) -> None:
    """One float32 input, no data of other files, no word and no node that nothing is held against.

    A runtime runs a node that no output needs too, and it may be one that never ends.
    """
    graph = model.graph
    tensors = [*graph.initializer]
    tensors += [entry.t for node in graph.node for entry in node.attribute if entry.HasField("t")]
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise VerificationError(
                f"operators: {tensor.name or 'a constant'} lies in another file"
            )
    if len(graph.input) != 1 or graph.sparse_initializer or model.functions:
        raise VerificationError("operators: model.onnx has functions, or not one input")
    if graph.input[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise VerificationError("operators: the input of model.onnx is not float32")
    if graph.input[0].name in {tensor.name for tensor in graph.initializer}:
        raise VerificationError("operators: the input of model.onnx is a weight too")
    if model.doc_string or graph.doc_string:
        raise VerificationError("sealed file: it has words beside its metadata")
    needed = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if not needed.intersection(node.output):
            raise VerificationError(f"operators: no output needs {node.name or node.op_type}")
        needed.update(node.input)


def _constant(name: str, values: np.ndarray) -> str:
    """A constant as text: axes by value, tables by a name that no formula could be mistaken for."""
    if values.dtype == np.int64 and values.ndim == 1:
        return _axes(values.tolist())
    short = name.removeprefix(PREFIX)
    return short if name == PREFIX + short and short in TABLES else NOT_OURS


def _axes(axes: Sequence[int]) -> str:
    return str(list(axes)).replace(" ", "")


def _call(node: onnx.NodeProto, operands: list[str]) -> str:
    """A node as text; axes that an older opset writes as an attribute are an operand here."""
    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    axes = values.pop("axes", None)
    operands += [] if axes is None else [_axes(axes)]
    options = ",".join(f"{key}={values[key]}" for key in sorted(values))
    kind = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    return f"{kind}({','.join(operands)}{';' + options if options else ''})"


def _formulas(*, rank: int, float32: bool) -> dict[str, str]:
    """What each output must be."""
    inside = INSIDE.format(axes=_axes(range(1, rank)))

    def of_class(table: str) -> str:
        return f"Gather({table},{LABEL};axis=0)"

    def radius(name: str, by_rival: str) -> str:
        zero = f"{name}_zero"
        positive = f"And(Greater({by_rival},{zero}),Less({by_rival},{name}_largest))"
        kept = f"Add(Where({positive},{by_rival},{zero}),{of_class('own')})"
        least = f"ReduceMin({kept},[1];keepdims=0)"
        return f"Where({inside},Min({least},{name}_diameter),{zero})"

    quotient = f"Sub(Div({GAPS},{of_class('L')}),slack)"
    outputs = {"logits": "logits", "label": LABEL, "radius": radius("radius", quotient)}
    if float32:
        left = f"Sub(Sub(Mul({GAPS},g),{of_class('A')}),Mul({of_class('B')},{NORM}))"
        outputs["radius_float32"] = radius("radius_float32", f"Mul(Div({left},{of_class('C')}),g)")
    return outputs


def _check_constants(
    constants: dict[str, np.ndarray], documents: Documents, pairs: np.ndarray
) -> None:
    """Each constant of the formulas is on the safe side of what it stands for."""
    classes, size = len(documents.certificate.classes), documents.proof.input_size
    claimed = np.array(documents.proof.pair_bounds)
    slack = documents.certificate.sealed_radius.slack
    apart = ~np.eye(classes, dtype=bool)
    table, one = (classes, classes), ()

    def check(name: str, shape: tuple[int, ...], *, least: Limit = 0.0, most: Limit) -> None:
        found = constants.get(name)
        if found is None or found.dtype != np.float32 or found.shape != shape:
            raise VerificationError(f"sealed file: it has no float32 table {name} of {shape}")
        exact = found.astype(np.float64)
        if not ((exact >= least).all() and (exact <= most).all()):
            raise VerificationError(f"sealed file: table {name} is not on the safe side")

    check("L", table, least=np.maximum(claimed, pairs * (1 - 1e-8)), most=math.inf)
    check("own", table, most=np.where(apart, 0.0, math.inf))
    check("slack", one, least=max(slack, LEAST_SLACK), most=slack * INFLATED)
    check("darkest", one, most=0.0)
    check("brightest", one, least=1.0, most=1.0)
    for name in OUTPUTS[: 1 + bool(documents.proof.float32)]:
        check(f"{name}_zero", one, most=0.0)
        check(f"{name}_largest", one, most=float(np.finfo(np.float32).max))
        check(f"{name}_diameter", one, most=math.sqrt(size))
    if documents.proof.float32 is not None:
        A, B = (
            np.array(e) for e in (documents.proof.float32.constant, documents.proof.float32.slope)
        )
        flushed = math.sqrt(4 * size * FLOAT32_SMALLEST)
        lost = (size + 4) * FLOAT32_UNIT
        squared = above(1 + lost / (1 - lost), 3)
        check("A", table, least=2 * (A + B * flushed) * INFLATED, most=math.inf)
        check("B", table, least=2 * B * squared * INFLATED, most=math.inf)
        check("C", table, least=claimed + B, most=math.inf)
        check("g", one, most=ROOM)
