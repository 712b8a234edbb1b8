"""Slow and obvious twins, and small ONNX files that hold what a test needs."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def onnx_file(
    nodes: Sequence[onnx.NodeProto],
    *,
    shape: Sequence[int],
    weights: dict[str, np.ndarray] | None = None,
    outputs: Sequence[str] = ("logits",),
    opset: int = 20,
    input_type: int = TensorProto.FLOAT,
    output_type: int = TensorProto.FLOAT,
) -> bytes:
    """An ONNX file of some nodes on the input `x`, batch first."""
    logits = [helper.make_tensor_value_info(o, output_type, ["batch", None]) for o in outputs]
    graph = helper.make_graph(
        list(nodes),
        "case",
        [helper.make_tensor_value_info("x", input_type, ["batch", *shape])],
        logits,
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)])
    return model.SerializeToString()


def dense_file(
    matrices: Sequence[np.ndarray],
    biases: Sequence[np.ndarray | None],
    *,
    shape: Sequence[int],
    slopes: bool = True,
) -> bytes:
    """Flatten, then Gemm with |·| on half of the features between each two."""
    nodes = [helper.make_node("Flatten", ["x"], ["h0"], name="flatten", axis=1)]
    weights: dict[str, np.ndarray] = {}
    current = "h0"
    for place, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
        last = place == len(matrices) - 1
        weights[f"W{place}"] = matrix.astype(np.float32)
        operands = [current, f"W{place}"]
        if bias is not None:
            weights[f"b{place}"] = bias.astype(np.float32)
            operands.append(f"b{place}")
        result = "logits" if last else f"a{place}"
        nodes.append(helper.make_node("Gemm", operands, [result], name=f"gemm{place}", transB=1))
        current = result
        if not last and slopes:
            half = len(matrix) // 2
            weights[f"s{place}"] = np.array([-1.0] * half + [1.0] * (len(matrix) - half), "f4")
            result = f"h{place + 1}"
            nodes.append(helper.make_node("PRelu", [current, f"s{place}"], [result], name=result))
            current = result
    return onnx_file(nodes, shape=shape, weights=weights)


def orthogonal(rows: int, columns: int, *, seed: int) -> np.ndarray:
    """A random matrix whose singular values are 1, up to rounding to float32."""
    noise = np.random.default_rng(seed).standard_normal((max(rows, columns), min(rows, columns)))
    q, _ = np.linalg.qr(noise)
    return (q if rows >= columns else q.T).astype(np.float32)


def orthogonal_classifier(
    *, shape: Sequence[int] = (1, 4, 4), width: int = 32, classes: int = 5, seed: int = 0
) -> bytes:
    """Two orthogonal layers under a linear head."""
    pixels = int(np.prod(shape))
    rng = np.random.default_rng(seed)
    head = rng.standard_normal((classes, width)) / np.sqrt(width)
    matrices = [
        orthogonal(width, pixels, seed=seed),
        orthogonal(width, width, seed=seed + 1),
        head,
    ]
    biases = [0.1 * rng.standard_normal(len(matrix)) for matrix in matrices]
    return dense_file(matrices, biases, shape=shape)


def images(count: int, shape: Sequence[int], *, seed: int = 0) -> np.ndarray:
    """Random float32 images in [0, 1]."""
    return np.random.default_rng(seed).random((count, *shape)).astype(np.float32)
