"""The claimed bounds against the audit's own.

A claim is confirmed if the audit proves a bound that exceeds it by at most an allowance a step: two
proofs of one norm end a few 1e-11 above it, each in its own way, and a proof by Cholesky for n
columns up to n² 2⁻⁵¹.  Radii are then judged with the larger of both bounds, so that the allowance
never makes a radius larger.
"""

import math
from typing import Any

import numpy as np

from models.audit.arithmetic import FLOAT32, FLOAT64, above
from models.audit.graph import Graph
from models.audit.lipschitz import walked
from models.audit.norms import distance_bounds, looseness
from models.audit.rounding import errors_of_pairs, uncovered_float32
from models.audit.step import Step
from models.errors import VerificationError

ALLOWED = 5e-10
"""Relative, for each step; what a claim may be below the audit's own bound."""
ALLOWED_ERRORS = 1e-6
"""Relative, for all steps together; what a claimed rounding error may be below the audit's own."""


QUIETLY = np.errstate(all="ignore")
"""What is not finite is not confirmed, and said so once."""


def allowance(graph: Graph) -> float:
    """What a claim about the logits may be below the audit's own bound, relative."""
    return ALLOWED + sum(_allowed(step) for step in graph.steps)


@QUIETLY
def confirmed_bounds(graph: Graph, claimed: dict[str, Any]) -> tuple[list[float], np.ndarray]:
    """The audit's factors, and for each two classes the larger of both bounds.

    Raises:
        VerificationError: Naming the first bound that is not confirmed, with both numbers.
    """
    lipschitz = walked(graph.source, graph.steps)
    _check_rows(graph, claimed["operators"], lipschitz)
    allowed = allowance(graph)
    classes, features = graph.steps[-1].shape[0], lipschitz["logits"]
    if graph.head is not None:
        features = lipschitz[graph.head.operands[0]]
        own = distance_bounds(graph.head.facts["rows"]) * features
    else:
        own = (1 - np.eye(classes)) * above(math.sqrt(2), 1) * features
    _confirm("lipschitz_bound", claimed["lipschitz_bound"], lipschitz["logits"], allowed)
    _confirm("feature_bound", claimed["feature_bound"], features, allowed)
    own = own * (1 + 2.0**-50)
    pairs = np.array(claimed["pair_bounds"], dtype=np.float64)
    if pairs.shape != own.shape:
        raise VerificationError(f"bounds: pair_bounds has the shape {list(pairs.shape)}")
    _confirm_pairs("pair bound", pairs, own, allowed)
    return [step.factor for step in graph.steps], np.maximum(pairs, own)


@QUIETLY
def confirmed_errors(graph: Graph, claimed: dict[str, Any]) -> str:
    """What was confirmed of the rounding errors of computed gaps, float64 and float32.

    Raises:
        VerificationError: Naming the first error that is not confirmed, with both numbers, or the
            step that leaves float32 uncovered where it is claimed to be covered.
    """
    formats = {"float64": FLOAT64}
    if claimed["float32"] is not None:
        reason = uncovered_float32(graph)
        if reason:
            raise VerificationError(f"bounds: float32 is claimed to be covered, and {reason}")
        formats["float32"] = FLOAT32
    for name, computed_in in formats.items():
        own = errors_of_pairs(graph, computed_in)
        for key, proved in zip(("constant", "slope"), own, strict=True):
            table = np.array(claimed[name][key], dtype=np.float64)
            if table.shape != proved.shape:
                raise VerificationError(f"bounds: {name} {key} has the shape {list(table.shape)}")
            _confirm_pairs(f"{name} {key}", table, proved, ALLOWED_ERRORS)
    return " and ".join(formats)


def _check_rows(graph: Graph, rows: list[dict[str, Any]], lipschitz: dict[str, float]) -> None:
    """Every row of the proof against the step of its name; the last of several is the result's.

    A proof may have rows for what a group here contains, and none for what its own groups contain:
    the bound behind a group is then confirmed, or is not.
    """
    claims: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        claims.setdefault(row["name"], []).append(row)
    unknown = [name for name in claims if name not in graph.parts]
    if unknown:
        raise VerificationError(f"operators: bounds.json has a row {unknown[0]!r}, the file none")
    allowed, results = 0.0, {step.name: step for step in graph.steps}
    for step in graph.steps:
        allowed += _allowed(step)
        found = claims.get(step.name, [])
        if not found and step is graph.steps[-1]:
            raise VerificationError(f"operators: bounds.json has no row {step.name!r}")
        if not found or results[step.name] is not step:
            continue
        what, kinds = f"{step.name} ({step.kind})", [row["operator"] for row in found]
        if step.kind not in kinds and not step.inner:
            raise VerificationError(f"operators: bounds.json takes {what} for {kinds[-1]!r}")
        claim = math.prod(row["factor"] for row in found)
        own = math.prod(each.factor for each in graph.steps if each.name == step.name)
        _confirm(f"factor of {what}", claim, own, _allowed(step) + ALLOWED)
        _confirm(f"bound behind {what}", found[-1]["bound"], lipschitz[step.result], allowed)


def _allowed(step: Step) -> float:
    """For one step: more where its norm was proved of a large matrix."""
    matrices = [part.facts["rows"] for part in (step, *step.inner) if "rows" in part.facts]
    wide = max((min(matrix.shape) for matrix in matrices), default=0)
    return ALLOWED + looseness(wide)


def _confirm(what: str, claim: float, proved: float, allowed: float) -> None:
    """A claim that is NaN, or too far below what was proved, is not confirmed."""
    if not (claim * (1 + allowed) >= proved and math.isfinite(proved)):
        raise VerificationError(
            f"bounds: {what} is claimed as {claim!r} and not confirmed; proved is {proved!r}"
        )


def _confirm_pairs(what: str, claims: np.ndarray, proved: np.ndarray, allowed: float) -> None:
    """Every entry of a table, or an error that names the first that is not confirmed."""
    confirmed = (claims * (1 + allowed) >= proved) & np.isfinite(proved)
    for i, j in np.argwhere(~confirmed)[:1]:
        pair = f"{what} of classes {i} and {j}"
        _confirm(pair, float(claims[i, j]), float(proved[i, j]), allowed)
