"""Logits in float64 by numpy alone, each with a bound on its distance from the exact ones.

A running error analysis: beside every tensor goes, example by example, a bound D on the Euclidean
distance of the computed from the exact values.  D(y) = f(D) + what this step rounds, by the rule
that distances go by, where the latter rests on the norm of the computed operands.  Norms are raised
by 2⁻²⁶, which pays for sums of fewer than 2²⁵ terms.

Source: Higham, "Accuracy and Stability of Numerical Algorithms", SIAM 2002, section 3.3.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from models.audit.arithmetic import FLOAT64
from models.audit.graph import LOGITS, Graph
from models.audit.rounding import lost
from models.errors import VerificationError

RAISED = 1 + 2.0**-26
FLUSHED = 2.0**-900
"""More than underflow can add to any tensor here."""
AT_ONCE = 2**23
"""Entries of the largest tensor that are held at once."""


@np.errstate(all="ignore")  # logits that are not finite confirm no radius
def evaluate(
    graph: Graph, images: np.ndarray, factors: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of float32 images, and the bound D of each example.

    Raises:
        VerificationError: If a step does not fit its operands.
    """
    largest = max(math.prod(shape) for step in graph.steps for shape in (*step.shapes, step.shape))
    count = max(1, AT_ONCE // largest)
    found = [
        _evaluated(graph, images[start : start + count], factors)
        for start in range(0, max(1, len(images)), count)
    ]
    logits, errors = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return logits, errors


def _evaluated(
    graph: Graph, images: np.ndarray, factors: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    values = {graph.source: images.astype(np.float64)}
    errors: dict[str, np.ndarray] = {graph.source: np.zeros(len(images))}
    left = Counter(name for step in graph.steps for name in step.operands)
    one = np.ones(len(images))
    for step, factor in zip(graph.steps, factors, strict=True):
        operands = [values[name] for name in step.operands]
        try:
            result = step.run(*operands)
        except (ValueError, IndexError) as fault:
            raise step.refuse(f"a form that does not fit its operands ({fault})") from None
        if result.shape != (len(images), *step.shape):
            raise VerificationError(f"operators: {step.name} ({step.kind}) changes the batch")
        reach = step.together([_norms(x) for x in operands]) * RAISED
        carried = factor * step.together([errors[name] for name in step.operands])
        errors[step.result] = (carried + lost(step, reach, one, FLOAT64)) * RAISED + FLUSHED
        values[step.result] = result
        for name in step.operands:
            left[name] -= 1
            if not left[name]:
                del values[name]
    return values[LOGITS], errors[LOGITS]


def _norms(values: np.ndarray) -> np.ndarray:
    """Norm of each example."""
    flat = values.reshape(len(values), -1)
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", flat, flat)))
