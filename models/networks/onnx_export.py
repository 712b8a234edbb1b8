"""A trained network as one ONNX file's bytes, the same bytes at every export.

The exporter's own graph names values after its passes, orders attributes by chance and records
the paths of source files.  Here every name is given again, from the operators' order, and every
note is dropped: what is left is the function.
"""

import contextlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime as ort
import torch
from jaxtyping import Float
from torch import nn

from models.errors import CertifyError

OPSET = 20
PARITY = 1e-4  # largest difference of two logits, relative to the largest logit
ROLES = {
    "Gemm": ("", "weight", "bias"),
    "PRelu": ("", "slope"),
    "Reshape": ("", "shape"),
}


def export_onnx(network: nn.Module, input_shape: tuple[int, int, int]) -> bytes:
    """The network as ONNX: `input` of shape (batch, C, H, W) in [0, 1], `logits` out.

    Args:
        network: on the processor, in eval mode.
        input_shape: channels, height, width.

    Returns:
        A whole model in one piece, opset 20, with its weights as initializers.

    Raises:
        CertifyError: If the network is in training mode.
    """
    if network.training:
        raise CertifyError("a network in training mode was to be exported; call .eval() on it")
    example = torch.zeros(2, *input_shape)
    with _quiet_exporter():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    if program is None:
        raise CertifyError("torch's exporter gave no program")
    model = program.model_proto
    _forget_origins(model)
    _rename(model.graph)
    onnx.checker.check_model(model, full_check=True)
    encoded: bytes = model.SerializeToString(deterministic=True)
    return encoded


def check_parity(
    model: bytes,
    network: nn.Module,
    inputs: Float[np.ndarray, "examples channels height width"],
) -> float:
    """Compare the file, run by ONNX Runtime as it stands, with the network that it came from.

    Args:
        model: what `export_onnx` gave.
        network: the network that was exported, on the processor.
        inputs: float32 images in [0, 1].

    Returns:
        The largest absolute difference of two logits.

    Raises:
        CertifyError: If it exceeds 1e-4 of the largest logit, or if an example changes class
            although its margin exceeds that.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"input": inputs})
    with torch.inference_mode():
        expected = network(torch.tensor(inputs)).numpy()
    difference = float(np.abs(found - expected).max())
    tolerance = PARITY * float(np.abs(expected).max())
    if not difference <= tolerance:
        raise CertifyError(
            f"the exported file's logits differ by {difference:.3g} from the network's; "
            f"accepted is {tolerance:.3g}"
        )
    ordered = np.sort(expected, axis=1)
    changed = found.argmax(axis=1) != expected.argmax(axis=1)
    beyond = changed & (ordered[:, -1] - ordered[:, -2] > tolerance)
    if beyond.any():
        raise CertifyError(
            f"example {int(beyond.argmax())} changes class in the exported file, with a margin "
            f"above {tolerance:.3g}"
        )
    return difference


def _forget_origins(model: onnx.ModelProto) -> None:
    """Drop what the exporter noted about where the graph came from: paths, passes, dates."""
    graph = model.graph
    noted = [model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer]
    for item in noted:
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    graph.ClearField("value_info")  # shape inference finds it again


def _rename(graph: onnx.GraphProto) -> None:
    """Name every node after its operator and place, every value after its node.

    Initializers and attributes take the order of their use and of the alphabet.
    """
    graph.name = "classifier"
    stored = {tensor.name: tensor for tensor in graph.initializer}
    kept = {value.name for value in (*graph.input, *graph.output)}
    names = {name: name for name in kept}
    count: Counter[str] = Counter()
    used = []
    for node in graph.node:
        count[node.op_type] += 1
        node.name = f"{node.op_type.lower()}_{count[node.op_type]}"
        roles = ROLES.get(node.op_type, ())
        for place, name in enumerate(node.input):
            if name in stored and name not in names:
                role = roles[place] if place < len(roles) else f"constant_{place}"
                names[name] = f"{node.name}.{role}"
                used.append(stored[name])
            node.input[place] = names.get(name, name)
        for place, name in enumerate(node.output):
            suffix = "" if len(node.output) == 1 else f".{place}"
            node.output[place] = names.setdefault(name, node.name + suffix)
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
        del node.attribute[:]
        node.attribute.extend(attributes)
    initializers = []
    for tensor in used:
        renamed = onnx.TensorProto()
        renamed.CopyFrom(tensor)
        renamed.name = names[tensor.name]
        initializers.append(renamed)
    del graph.initializer[:]
    graph.initializer.extend(initializers)


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hush the exporter: missing torchvision, deprecations inside torch, progress."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
