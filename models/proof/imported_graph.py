"""A foreign file made the network of a run: the same function, from pixels in [0, 1] to `logits`.

Preprocessing (x - mean) / std becomes two nodes in front, as float32 constants to a channel, so
that its factor, the largest 1 / std, is inside the bound like that of any other operator.  Only
what the logits depend on is kept.  Names that sealing adds are moved away; documentation,
metadata and the name of the exporter, which hold paths of the machine that made the file, are
dropped.  Between both, an image may be laid out as the file wants it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.proof.layout import Layout
from models.proof.reading.checks import check_structure
from models.proof.reading.reader import live_part
from models.proof.sealed_graph import OUTPUTS, PREFIX, STANDARD

LOGITS = "logits"
PREPROCESSING = "preprocessing/"


def imported_graph(
    model: bytes,
    *,
    shape: Sequence[int],
    layout: Layout,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> bytes:
    """The network of a foreign file, one output `logits`.

    Args:
        model: a file that `read_program` accepts.
        shape: of one image.
        layout: from it to the file's input, behind the preprocessing.
        mean: subtracted from each channel, or from all where it is one number; in pixels.
        std: divides each channel after that.

    Raises:
        ModelError: If the result is not valid ONNX, as where names of the file cannot be kept.
    """
    parsed, logits, nodes = live_part(model)
    given = parsed.graph.input[0]
    read = {name for node in nodes for name in node.input}
    stored = [tensor for tensor in parsed.graph.initializer if tensor.name in read]
    made = [name for node in nodes for name in node.output]
    names = _names([given.name, *(tensor.name for tensor in stored), *made], logits=logits)
    front, tables, normalised = _preprocessing(names[given.name], mean=mean, std=std)
    moves, sides, laid_out = _laid_out(normalised, layout)
    graph = helper.make_graph(
        [*front, *moves, *_nodes(nodes, names, {given.name: laid_out})],
        "classifier",
        [helper.make_tensor_value_info(names[given.name], TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", None])],
        [*tables, *sides, *(_tensor(tensor, name=names[tensor.name]) for tensor in stored)],
    )
    opset = next(entry for entry in parsed.opset_import if entry.domain in STANDARD)
    network = helper.make_model(graph, ir_version=parsed.ir_version, opset_imports=[opset])
    content = bytes(network.SerializeToString(deterministic=True))
    check_structure(content, shapes=True)
    return content


def constants_of(values: Sequence[float]) -> np.ndarray:
    """Numbers of the channels as they stand in the file: float32, to be read beside C × H × W."""
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


def _preprocessing(
    source: str, *, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], str]:
    """Nodes and tables of (x - mean) / std, and the tensor that they make."""
    nodes, tables = [], []
    for kind, role, values in (("Sub", "mean", mean), ("Div", "std", std)):
        if values is not None:
            table, result = PREPROCESSING + role, PREPROCESSING + kind.lower()
            tables.append(numpy_helper.from_array(constants_of(values), table))
            nodes.append(helper.make_node(kind, [source, table], [result], name=result))
            source = result
    return nodes, tables, source


def _laid_out(
    source: str, layout: Layout
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], str]:
    """Nodes and tables of a layout, and the tensor that they make."""
    result, table = PREPROCESSING + "layout", PREPROCESSING + "shape"
    if layout.order is not None:
        order = [0, *(axis + 1 for axis in layout.order)]
        node = helper.make_node("Transpose", [source], [result], name=result, perm=order)
        return [node], [], result
    if layout.reshape is not None:
        sides = numpy_helper.from_array(np.array([0, *layout.reshape], dtype=np.int64), table)
        return (
            [helper.make_node("Reshape", [source, table], [result], name=result)],
            [sides],
            result,
        )
    return [], [], source


def _names(found: Sequence[str], *, logits: str) -> dict[str, str]:
    """New names of tensors: the logits get theirs, and those that sealing adds are moved away."""
    names = {"": "", logits: LOGITS}
    taken = {*found, LOGITS}
    for name in found:
        if name not in names:
            names[name] = _moved(name, taken=taken) if _is_reserved(name) else name
    return names


def _is_reserved(name: str) -> bool:
    return name in (*OUTPUTS, LOGITS) or name.startswith((PREFIX, PREPROCESSING))


def _moved(name: str, *, taken: set[str]) -> str:
    moved = f"model/{name}"
    while moved in taken:
        moved += "_"
    taken.add(moved)
    return moved


def _nodes(
    nodes: Sequence[onnx.NodeProto], names: dict[str, str], fed: dict[str, str]
) -> Iterator[onnx.NodeProto]:
    """The nodes under new names, each with its own, without what was noted about them."""
    called = [node.name or node.output[0] for node in nodes]
    taken, used = set(called), set()
    for node, name in zip(nodes, called, strict=True):
        kept = onnx.NodeProto(op_type=node.op_type, domain=node.domain)
        kept.name = _moved(name, taken=taken) if _is_reserved(name) or name in used else name
        used.add(kept.name)
        kept.input.extend(fed.get(each) or names[each] for each in node.input)
        kept.output.extend(names[each] for each in node.output)
        kept.attribute.extend(node.attribute)
        for attribute in kept.attribute:
            attribute.ClearField("doc_string")
            if attribute.HasField("t"):
                attribute.t.CopyFrom(_tensor(attribute.t, name=""))
        yield kept


def _tensor(tensor: onnx.TensorProto, *, name: str) -> onnx.TensorProto:
    """A tensor under a new name, without what was noted about it."""
    kept = onnx.TensorProto()
    kept.CopyFrom(tensor)
    for note in ("doc_string", "metadata_props", "name"):
        kept.ClearField(note)
    if name:
        kept.name = name
    return kept
