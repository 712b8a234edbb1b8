"""Processors and accelerators of this machine, and what the runtimes really do with them."""

import tempfile
from pathlib import Path

import numpy as np

from models.errors import JobError, first_line


def describe_accelerators() -> dict[str, object]:
    """GPUs that torch sees, providers that ONNX Runtime loads a session with, and Ray's answer.

    The package's own list of providers names CUDA even where there is no GPU, so a session is
    loaded, and asked for CUDA only where torch sees a GPU.
    """
    faults: list[str] = []
    gpus: list[str] = []
    try:
        import torch

        if torch.cuda.is_available():
            gpus = [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())]
    except ImportError as fault:
        faults.append(f"torch does not load: {fault}")
    providers: list[str] = []
    try:
        providers = _session_providers(with_gpu=bool(gpus))
    except Exception as fault:
        faults.append(f"ONNX Runtime loads no session: {first_line(fault)}")
    try:
        import ray

        ray_found = f"loads, version {ray.__version__}"
    except ImportError as fault:
        ray_found = "does not load"
        faults.append(f"Ray does not load: {fault}")
    return {
        "gpus": gpus,
        "bfloat16_matrix_units": bool(gpus) or has_bfloat16_units("cpu"),
        "onnxruntime_providers": providers,
        "ray": ray_found,
        "temporary_folder_writable": _temporary_folder(),
        "faults": faults,
    }


def gpus_here() -> int:
    """How many GPUs torch can compute on."""
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def refuse_precision(precision: str, device: str) -> None:
    """Refuse to train in bfloat16 where that is slower than float32.

    Args:
        precision: the job's.
        device: as torch names it.

    Raises:
        JobError: With what is accepted.
    """
    if precision == "bfloat16" and not has_bfloat16_units(device):
        raise JobError(
            "train.precision: found 'bfloat16' on a processor without matrix units for it "
            "(amx_bf16), where it is slower than 'float32'; accepted is 'float32', or a GPU with "
            "resources.gpus_per_worker = 1"
        )


def has_bfloat16_units(device: str) -> bool:
    """Whether a device multiplies matrices of bfloat16 faster than those of float32.

    Args:
        device: as torch names it; GPUs are taken to have such units.
    """
    if device != "cpu":
        return True
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _session_providers(*, with_gpu: bool) -> list[str]:
    """Providers of a session that computes something."""
    import onnxruntime
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "probe", [value], [result])
    model = helper.make_model(
        graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]
    ).SerializeToString()
    wanted = ["CUDAExecutionProvider"] if with_gpu else []
    session = onnxruntime.InferenceSession(model, providers=[*wanted, "CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.array([-1], dtype=np.float32)})
    if found.tolist() != [1.0]:
        raise RuntimeError(f"|-1| came out as {found.tolist()}")
    providers: list[str] = session.get_providers()
    return providers


def _temporary_folder() -> bool:
    try:
        with tempfile.TemporaryDirectory() as folder:
            return Path(folder).is_dir()
    except OSError:
        return False
