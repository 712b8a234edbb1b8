"""ONNX Runtime as the certificate means it: one processor, and the graph as the file says.

Torch is not loaded here: a process that only answers needs a tenth of the memory without it.
"""

from typing import Any

import onnxruntime


def onnx_session(model: bytes, *, optimised: bool) -> Any:
    """An ONNX file loaded in ONNX Runtime, on one processor.

    Args:
        model: the file's bytes.
        optimised: whether the runtime may rewrite the graph: what is then computed is another
            program than the one that `radius_float32` speaks of.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
