"""Proving ten convolutions, 64 channels at 32×32, and the example's layers; how tight it is."""

import itertools
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from models.proof.bounds import prove
from models.proof.norms.matrix import matrix_norm_bound
from models.proof.reading.reader import read_program

LAYERS, CHANNELS, SIDE = 10, 64, 32
WIDTHS = (784, 512, 256, 10)
T = TypeVar("T")


def run() -> None:
    """Print seconds, of the clock and of processors, and bounds over norms."""
    program = read_program(convolutions())
    frequencies = (SIDE + 2) ** 2 // 2
    work = LAYERS * frequencies * 8 * CHANNELS**3 / 1e9  # one complex Gram matrix at each
    bounds = _timed(f"prove {LAYERS} convolutions", lambda: prove(program), asked="20 s")
    print(f"  Gram matrices alone    {work:8.1f} GFLOP")
    factors = [row["factor"] for row in bounds.operators if row["operator"] == "Conv"]
    first = program.operators[0].kernel.array
    print(f"  first bound / norm     {factors[0] / exact_norm(first):8.5f}    (asked: 1.01)")
    rows = dense()
    _timed("read and prove a network of the Fashion-MNIST example's size",
           lambda: prove(read_program(rows)), asked="2 s")  # fmt: skip
    orthogonal = _orthogonal(512, 512)
    bound = _timed("bound an orthogonal 512×512", lambda: matrix_norm_bound(orthogonal), asked="-")
    print(f"  bound - 1              {bound - 1:8.1e}    (asked: 1e-5)")


def _timed(what: str, work: Callable[[], T], *, asked: str) -> T:
    """What the work gives; its time is printed, both on the clock and of processors."""
    begun, used = time.perf_counter(), time.process_time()
    found = work()
    clock, processors = time.perf_counter() - begun, time.process_time() - used
    print(f"{what}: {clock:.2f} s, of processors {processors:.2f} s (asked: {asked})")
    return found


def _orthogonal(rows: int, columns: int) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((max(rows, columns), min(rows, columns)))
    columnwise = np.linalg.qr(noise)[0].astype(np.float32)
    return columnwise if rows >= columns else columnwise.T


def dense() -> bytes:
    """Orthogonal layers of 512 and 256 with MaxMin, and ten classes, for images of 28×28."""
    nodes, weights, current = [helper.make_node("Flatten", ["x"], ["f"])], {}, "f"
    for at, (inputs, outputs) in enumerate(itertools.pairwise(WIDTHS)):
        weights[f"W{at}"] = _orthogonal(outputs, inputs)
        nodes.append(helper.make_node("Gemm", [current, f"W{at}"], [f"g{at}"], transB=1))
        current = f"g{at}"
        if at < len(WIDTHS) - 2:
            half = np.array([outputs // 2] * 2, dtype=np.int64)
            weights[f"half{at}"] = half
            parts = [f"a{at}", f"b{at}"]
            nodes += [
                helper.make_node("Split", [current, f"half{at}"], parts, axis=1),
                helper.make_node("Max", parts, [f"u{at}"]),
                helper.make_node("Min", parts, [f"l{at}"]),
                helper.make_node("Concat", [f"u{at}", f"l{at}"], [f"m{at}"], axis=1),
            ]
            current = f"m{at}"
    nodes[-1].output[0] = "logits"
    return _file("dense", nodes, weights, shape=[1, 28, 28])


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
    return _file("convolutions", nodes, weights, shape=[3, SIDE, SIDE])


def _file(
    name: str, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], *, shape: list[int]
) -> bytes:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
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
