"""Slow and obvious twins, and small ONNX files that hold what a test needs."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from models.proof.program import Program, logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx


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


def form(
    *nodes: onnx.NodeProto, shape: Sequence[int], opset: int = 20, **weights: np.ndarray
) -> bytes:
    """Nodes from `x` to `g`, whose entries are the logits."""
    flatten = helper.make_node("Flatten", ["g"], ["logits"], name="flatten")
    return onnx_file([*nodes, flatten], shape=shape, weights=weights, opset=opset)


def check_form(content: bytes, *, seed: int = 0) -> None:
    """A program computes what ONNX Runtime computes, on inputs of both signs."""
    program = read_program(content)
    inputs = images(5, program.input_shape, seed=seed) - np.float32(0.5)
    found = logits_in_float64(program, inputs)
    expected = run_onnx(content, inputs, optimised=False)["logits"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def dense_norm(program: Program) -> float:
    """Norm of an affine program as a dense matrix, one column to a basis image."""
    basis = torch.eye(program.input_size, dtype=torch.float64).reshape(-1, *program.input_shape)
    zero = torch.zeros(1, *program.input_shape, dtype=torch.float64)
    matrix = program(basis) - program(zero)
    return float(torch.linalg.svdvals(matrix)[0])


def steepest(
    program: Callable[[torch.Tensor], torch.Tensor],
    shape: Sequence[int],
    *,
    seed: int,
    steps: int = 40,
    length: float = 0.1,
    middle: float = 0.0,
) -> float:
    """Largest ‖f(x) - f(x′)‖ / ‖x - x′‖ that ascent finds, in float64.

    Args:
        program: f.
        shape: of one example.
        seed: of the starts.
        steps: of the ascent.
        length: of x - x′; a kink farther away from x is not seen.
        middle: of the starts, which reach 0.5 to each side.
    """
    noise = torch.Generator().manual_seed(seed)
    start = torch.rand(8, *shape, generator=noise, dtype=torch.float64) - 0.5 + middle
    direction = torch.randn(start.shape, generator=noise, dtype=torch.float64)
    best = 0.0
    for _ in range(steps):
        direction = direction.detach().requires_grad_()
        unit = direction / direction.flatten(1).norm(dim=1).view(-1, *[1] * len(shape)) * length
        change = program(start + unit) - program(start)
        stretch = change.flatten(1).norm(dim=1) / length
        best = max(best, float(stretch.detach().max()))
        (gradient,) = torch.autograd.grad(stretch.sum(), direction)
        direction = direction + gradient / (gradient.norm() + 1e-300) * direction.norm()
    return best


def stretch_seen(program, x, noise, *, rounds: int, step: float) -> float:
    """Largest stretch of a pair of inputs `step` apart that power iteration from `x` finds."""
    direction = torch.randn(x.shape, generator=noise, dtype=torch.float64)
    best = 0.0
    for _ in range(rounds):
        lengths = direction.flatten(1).norm(dim=1).clamp_min(1e-300)
        moved = (step * direction / lengths.view(-1, *[1] * (x.dim() - 1))).requires_grad_()
        far = (program(x + moved) - program(x)).flatten(1).norm(dim=1)
        best = max(best, float((far / moved.flatten(1).norm(dim=1)).detach().max()))
        (direction,) = torch.autograd.grad(far.sum(), moved)
    return best
