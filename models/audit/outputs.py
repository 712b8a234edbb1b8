"""The sealed file as ONNX Runtime computes it: its labels and radii against the table."""

import numpy as np
import onnxruntime

from models.errors import VerificationError, first_line

CLOSE = 1e-5
"""Input units; a class that is certified no farther may be another one in float32."""
BATCH = 256
ROUNDED = 1e-3
"""Of the largest margin: more than float32 loses of one, so more is another function."""


def check_outputs(
    model: bytes, images: np.ndarray, rows: dict[str, np.ndarray], *, claimed: float, slack: float
) -> float:
    """Largest shortfall of the file's own radii, as ONNX Runtime computes them.

    Args:
        model: the file.
        images: float32, of `rows`.
        rows: the table's, by column.
        claimed: the largest shortfall that was measured, in input units.
        slack: by which the file lowers its radii; what other machines may differ by.

    Raises:
        VerificationError: If a label or a radius is not the table's.
    """
    found = _run(model, images)
    shortfall = rows["radius"] - found["radius"]
    margins = _margins(found["logits"], rows["prediction"])
    rounded = ROUNDED * np.abs(rows["margin"]).max(initial=0.0)
    wrong = {
        "gives another label": (found["label"] != rows["prediction"]) & (rows["radius"] > CLOSE),
        "gives a larger radius than the table": ~(shortfall >= 0),
        "gives a radius farther below the table's than is claimed": ~(shortfall <= claimed + slack),
    }
    if "radius_float32" in found:
        beyond = ~(found["radius_float32"] <= rows["radius_float32"])
        wrong["gives a larger radius_float32 than the table"] = beyond
    wrong["gives another margin"] = ~(np.abs(margins - rows["margin"]) <= rounded)
    for what, where in wrong.items():
        if where.any():
            index = rows["index"][int(where.argmax())]
            raise VerificationError(f"sealed file: for example {index} it {what}")
    return float(shortfall.max(initial=0.0))


def check_refusals(model: bytes, shape: tuple[int, ...]) -> None:
    """An image that the certificate does not speak of has radius 0.

    Raises:
        VerificationError: If one with a pixel outside [0, 1], or with a NaN, has another.
    """
    pixels = np.array([-1e-3, 1.001, 1e30, -np.inf, np.inf, np.nan], dtype=np.float32)
    spoilt = np.full((len(pixels), *shape), 0.5, dtype=np.float32)
    spoilt.reshape(len(pixels), -1)[:, 0] = pixels
    for name, radii in _run(model, spoilt).items():
        for pixel, radius in zip(pixels, radii, strict=True):
            if name.startswith("radius") and radius != 0:
                raise VerificationError(
                    f"sealed file: an image with a pixel of {float(pixel)} has {name} "
                    f"{float(radius)}; accepted is 0"
                )


def _margins(logits: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Each prediction's logit over the best other one."""
    others = logits.copy()
    np.put_along_axis(others, predictions[:, None].astype(np.int64), -np.inf, axis=1)
    return np.asarray(logits[np.arange(len(logits)), predictions] - others.max(axis=1))


def _run(model: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every output by name, with nothing of the graph rewritten."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        source = session.get_inputs()[0].name
        batches = [
            session.run(names, {source: images[start : start + BATCH]})
            for start in range(0, len(images), BATCH)
        ]
        joined = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    except Exception as fault:  # the runtime's errors have no common root
        raise VerificationError(
            f"sealed file: ONNX Runtime refuses it: {first_line(fault)}"
        ) from None
    found = dict(zip(names, joined, strict=True))
    for name, values in found.items():
        if values.shape[:1] != (len(images),) or (values.ndim > 1) != (name == "logits"):
            raise VerificationError(f"sealed file: {name} is not a number an image")
    return {name: values.astype(np.float64) for name, values in found.items()}
