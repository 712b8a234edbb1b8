"""The table's radii against the audit's own logits and bounds, and the sealed file's outputs.

With gap g, allowance e for both evaluations' rounding and pair bound L, a radius r is refuted where
r > (g + e) / L for some rival, raised by the bounds' own allowance: no rounding excuses it.  It is
confirmed outright where r (1 - 1e-9) ≤ (g - e) / L for every rival.  What lies between is neither
(a gap of the size of e); the number of rows confirmed outright is reported.

`radius_float32` is refuted likewise above (g + e - A - B ‖x‖) / (L + B), with the certificate's own
A and B, which `bounds.confirmed_errors` holds against the audit's.
"""

import math
from typing import Any

import numpy as np
import onnxruntime

from models.audit.bounds import allowance
from models.audit.documents import Documents
from models.audit.evaluation import evaluate
from models.audit.graph import Graph
from models.errors import VerificationError

CLOSE = 1e-5


def check_radii(
    graph: Graph,
    images: np.ndarray,
    rows: dict[str, np.ndarray],
    *,
    factors: list[float],
    pairs: np.ndarray,
    float32: dict[str, Any] | None,
) -> int:
    """How many rows are confirmed outright.

    Args:
        graph: the steps of the file.
        images: float32, of `rows`.
        rows: the table's, by column.
        factors: the audit's own, a step.
        pairs: bounds for each two classes.
        float32: what a float32 runtime may lose of a gap, as claimed; None where no
            `radius_float32` may be claimed.

    Raises:
        VerificationError: At the first row whose class or radius is certainly wrong.
    """
    logits, errors = evaluate(graph, images, factors)
    allowed = 1 + allowance(graph)
    confirmed = 0
    for at, (z, error) in enumerate(zip(logits, errors, strict=True)):
        index, c, radius = rows["index"][at], int(rows["prediction"][at]), rows["radius"][at]
        if not (0 <= c < len(z) and np.isfinite(z).all() and math.isfinite(error)):
            raise VerificationError(f"radii: example {index} has no finite logits or no such class")
        others = np.arange(len(z)) != c
        gaps, bounds = (z[c] - z)[others], pairs[c][others]
        slack = 2 * (1.5 * error + 2.0**-52 * np.abs(gaps))  # √2 D, for either program
        if (gaps + slack < 0).any():
            raise VerificationError(f"predictions: example {index} is not of class {c}")
        most = _radius(gaps + slack, bounds, graph) * allowed
        if radius > most:
            raise VerificationError(
                f"radii: example {index} has radius {float(radius)!r}; proved is at most {most!r}"
            )
        if abs(rows["margin"][at] - gaps.min()) > slack.max():
            raise VerificationError(f"radii: example {index} has another margin")
        if float32 is not None:
            A, B = (np.array(float32[key])[c][others] for key in ("constant", "slope"))
            norm = float(np.linalg.norm(images[at].astype(np.float64))) * (1 - 2.0**-26)
            most = _radius(gaps + slack - A - B * norm, bounds + B, graph) * allowed
        _check_float32(
            float(rows["radius_float32"][at]), int(index), most, covered=float32 is not None
        )
        confirmed += int(radius * (1 - 1e-9) <= _radius(gaps - slack, bounds, graph))
    return confirmed


def _check_float32(radius: float, index: int, most: float, *, covered: bool) -> None:
    """A radius where there may be one, from 0 to the most that is proved."""
    if covered and not 0 <= radius <= most:
        raise VerificationError(
            f"radii: example {index} has radius_float32 {radius!r}; "
            f"with the certificate's own float32 errors it is at most {most!r}"
        )
    if not covered and not math.isnan(radius):
        raise VerificationError(f"radii: example {index} has a radius_float32, and none is covered")


def check_tables(graph: Graph, documents: Documents, pairs: np.ndarray) -> None:
    """The sealed file divides by bounds that are at least the certificate's.

    Raises:
        VerificationError: If an output or a table is missing, or a table is too small.
    """
    claimed = documents.bounds
    wanted = ["logits", "label", "radius"] + ["radius_float32"] * (claimed["float32"] is not None)
    if list(graph.outputs) != wanted:
        raise VerificationError(f"sealed file: its outputs are not {', '.join(wanted)}")
    least = {"L": np.array(claimed["pair_bounds"])}
    if claimed["float32"] is not None:
        constant, slope = (np.array(claimed["float32"][key]) for key in ("constant", "slope"))
        apart = ~np.eye(len(constant), dtype=bool)
        if not all(
            (error[apart] > 0).all() and np.isfinite(error).all() for error in (constant, slope)
        ):
            raise VerificationError("bounds: float32 errors of two classes are no positive numbers")
        least |= {"A": 2 * constant, "B": 2 * slope, "C": least["L"] + slope}
    for name, bound in least.items():
        table = graph.initialisers.get(f"certificate/{name}")
        if table is None or table.shape != bound.shape or not (table >= bound).all():
            raise VerificationError(f"sealed file: table {name} is below the certificate's")
    if not (graph.initialisers["certificate/L"] * (1 + 1e-8) >= pairs).all():
        raise VerificationError("sealed file: table L is below what the audit proves")


def check_outputs(model: bytes, graph: Graph, images: np.ndarray, rows: dict) -> float:
    """Largest shortfall of the file's own radii, as ONNX Runtime computes them.

    Raises:
        VerificationError: If a label or a radius is not the table's.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        labels, radii, *float32 = session.run(list(graph.outputs[1:]), {graph.source: images})
    except Exception as fault:  # the runtime's errors have no common root
        reason = str(fault).partition("\n")[0]
        raise VerificationError(f"sealed file: ONNX Runtime refuses it: {reason}") from None
    shortfall = rows["radius"] - radii.astype(np.float64)
    beyond = [given > rows["radius_float32"] for given in float32]
    for wrong, what in (
        (labels != rows["prediction"], "gives another label"),
        (shortfall < 0, "gives a larger radius than the table"),
        (~(shortfall <= CLOSE * (1 + rows["radius"])), "gives a radius far below the table's"),
        *((wrong, "gives a larger radius_float32 than the table") for wrong in beyond),
    ):
        if wrong.any():
            index = rows["index"][int(wrong.argmax())]
            raise VerificationError(f"sealed file: for example {index} it {what}")
    return float(shortfall.max(initial=0.0))


def _radius(gaps: np.ndarray, bounds: np.ndarray, graph: Graph) -> float:
    """Smallest gap / L, in [0, √d]."""
    diameter = math.sqrt(math.prod(graph.shape))
    if not (gaps > 0).all():
        return 0.0
    quotients = np.where(bounds > 0, gaps / np.where(bounds > 0, bounds, 1.0), diameter)
    return min(diameter, float(quotients.min()))
