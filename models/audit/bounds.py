"""The claimed bounds against the audit's own.

A claim is confirmed if the audit proves a bound that exceeds it by at most ALLOWED a step: two
proofs of one norm end a few 1e-11 above it, each in its own way.  Radii are then judged with the
larger of both bounds, so that the allowance never makes a radius larger.
"""

import math
from typing import Any

import numpy as np

from models.audit.arithmetic import above
from models.audit.graph import DENSE, Graph
from models.audit.norms import distance_bounds
from models.audit.rules import dense_weight, stretches
from models.errors import VerificationError

ALLOWED = 5e-10
"""Relative, for each step; what a claim may be below the audit's own bound."""


def confirmed_bounds(graph: Graph, claimed: dict[str, Any]) -> tuple[list[float], np.ndarray]:
    """The audit's factors, and for each two classes the larger of both bounds.

    Raises:
        VerificationError: Naming the first bound that is not confirmed, with both numbers.
    """
    rows = claimed["operators"]
    if [row["operator"] for row in rows] != [step.kind for step in graph.steps]:
        kinds = ", ".join(step.kind for step in graph.steps)
        raise VerificationError(f"operators: bounds.json has other rows than the file: {kinds}")
    factors, lipschitz = stretches(graph)
    for place, (row, step, factor) in enumerate(zip(rows, graph.steps, factors, strict=True)):
        _confirm(f"factor of {step.name} ({step.kind})", row["factor"], factor, 1)
        _confirm(f"bound behind {step.name}", row["bound"], lipschitz[step.result], place + 1)
    depth = len(graph.steps) + 1
    last = graph.steps[-1]
    features = lipschitz["logits"]
    if last.kind in DENSE:
        features = lipschitz[last.operands[0]]
        own = distance_bounds(dense_weight(last)) * features
    else:
        classes = len(claimed["pair_bounds"])
        own = (1 - np.eye(classes)) * above(math.sqrt(2), 1) * features
    _confirm("lipschitz_bound", claimed["lipschitz_bound"], lipschitz["logits"], depth)
    _confirm("feature_bound", claimed["feature_bound"], features, depth)
    own = own * (1 + 2.0**-50)
    pairs = np.array(claimed["pair_bounds"], dtype=np.float64)
    if pairs.shape != own.shape:
        raise VerificationError(f"bounds: pair_bounds has the shape {list(pairs.shape)}")
    for i, j in np.ndindex(own.shape):
        _confirm(f"pair bound of classes {i} and {j}", float(pairs[i, j]), float(own[i, j]), depth)
    return factors, np.maximum(pairs, own)


def _confirm(what: str, claim: float, proved: float, steps: int) -> None:
    """A claim that is NaN, or too far below what was proved, is not confirmed."""
    if not (claim * (1 + steps * ALLOWED) >= proved and math.isfinite(proved)):
        raise VerificationError(
            f"bounds: {what} is claimed as {claim!r} and not confirmed; proved is {proved!r}"
        )
