"""Proving a network of ten convolutions, 64 channels at 32×32, and how tight its bounds are."""

import time

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from models.proof.bounds import prove
from models.proof.norms.matrix import matrix_norm_bound
from models.proof.reading.reader import read_program

LAYERS, CHANNELS, SIDE = 10, 64, 32


def run() -> None:
    """Print seconds, the least work that looks at every frequency, and bounds over norms."""
    program = read_program(convolutions())
    begun = time.perf_counter()
    bounds = prove(program)
    seconds = time.perf_counter() - begun
    frequencies = (SIDE + 2) ** 2 // 2
    work = LAYERS * frequencies * 8 * CHANNELS**3 / 1e9  # one complex Gram matrix at each
    print(
        f"prove {LAYERS} convolutions    {seconds:8.2f} s  (Gram matrices alone: {work:.1f} GFLOP)"
    )
    factors = [row["factor"] for row in bounds.operators if row["operator"] == "Conv"]
    first = program.operators[0].kernel.array
    print(f"  first bound / norm     {factors[0] / exact_norm(first):8.5f}")
    noise = np.random.default_rng(0).standard_normal((512, 512))
    orthogonal = np.linalg.qr(noise)[0].astype(np.float32)
    begun = time.perf_counter()
    excess = matrix_norm_bound(orthogonal) - 1
    print(
        f"orthogonal 512×512       {time.perf_counter() - begun:8.2f} s  bound - 1 = {excess:.1e}"
    )


def convolutions() -> bytes:
    """Random 3×3 kernels with Relu between them, a mean over space and a head."""
    rng = np.random.default_rng(0)
    nodes, weights, current = [], {}, "x"
    for layer in range(LAYERS):
        inputs = 3 if layer == 0 else CHANNELS
        kernel = rng.standard_normal((CHANNELS, inputs, 3, 3)) / np.sqrt(9 * inputs)
        weights[f"K{layer}"] = kernel.astype(np.float32)
        nodes.append(helper.make_node("Conv", [current, f"K{layer}"], [f"c{layer}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        current = f"r{layer}"
    weights["W"] = rng.standard_normal((10, CHANNELS)).astype(np.float32)
    nodes.append(helper.make_node("GlobalAveragePool", [current], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "W"], ["logits"], transB=1))
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def exact_norm(kernel: np.ndarray) -> float:
    """Power iteration in float64 until it stands still: from below, and as good as exact."""
    weight = torch.from_numpy(kernel.astype(np.float64))
    x = torch.randn(1, kernel.shape[1], SIDE, SIDE, dtype=torch.float64)
    length = torch.ones(())
    for _ in range(300):
        y = torch.nn.functional.conv2d(x, weight, padding=1)
        x = torch.nn.functional.conv_transpose2d(y, weight, padding=1)
        length = x.norm()
        x = x / length
    return float(length.sqrt())
