"""How far computed logits may be from the exact ones: norms and errors of every tensor.

With s at least the norm of every image that is meant, v(t) ≥ ‖t(x)‖ in exact arithmetic and
D(t) ≥ ‖computed t(x) - exact t(x)‖ go through each step by the rule that distances go by:
v(y) = f(v) + ‖y at zero‖ and D(y) = f(D) + δ(y), δ what the step rounds itself at ρ = v + D.  Both
are pairs (a, b) that mean a + b s, or, in `evaluation`, one number to an example.

A group whose rounding is that of its steps is walked again from its own source with v = ρ, D = 0:
from the computed source to the exact one its theorem leads.

Source: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", SIAM 2002, chapter 3.
"""

import math
from collections.abc import Sequence

import numpy as np

from models.audit.arithmetic import FLOAT32, Format, gamma
from models.audit.graph import Graph
from models.audit.norms import distance_bounds
from models.audit.step import FINITE, Step

RAISED = 1 + 2.0**-40
"""Pays for the roundings of a bound that fewer than 2¹⁰ operations make."""
Tensors = dict[str, np.ndarray]


def follow(
    steps: Sequence[Step], norms: Tensors, errors: Tensors, one: np.ndarray, computed_in: Format
) -> None:
    """Add norm and error of every step's result, given those of what the steps read."""
    for step in steps:
        v, D = ([known[name] for name in step.operands] for known in (norms, errors))
        reach = step.together([norm + error for norm, error in zip(v, D, strict=True)])
        own = lost(step, reach * RAISED, one, computed_in)
        norms[step.result] = (step.factor * step.together(v) + step.offset * one) * RAISED
        errors[step.result] = (step.factor * step.together(D) + own) * RAISED


def lost(step: Step, reach: np.ndarray, one: np.ndarray, computed_in: Format) -> np.ndarray:
    """What a step or a group rounds itself, at an operand's norm `reach`."""
    if not step.walked:
        return step.lost(reach, one, computed_in=computed_in)
    norms, errors = {step.operands[0]: reach}, {step.operands[0]: 0.0 * reach}
    follow(step.inner, norms, errors, one, computed_in)
    return errors[step.result]


def errors_of_pairs(graph: Graph, computed_in: Format) -> np.ndarray:
    """A and B of every two classes: how far computed gaps may be from the exact ones.

    Returns:
        Two tables: A + B s is the bound, s at least the image's norm.
    """
    norms, errors = _walked(graph, computed_in)
    classes, head = graph.steps[-1].shape[0], graph.head
    apart = 1 - np.eye(classes)
    if head is None:
        error = errors[graph.steps[-1].result] * math.sqrt(2) * RAISED
        return np.asarray(error[:, None, None] * apart)
    features = head.operands[0]
    D, v = errors[features], norms[features]
    facts = head.facts
    W, bias = np.abs(facts["rows"]), np.abs(facts["bias"])
    together = np.linalg.norm(W[:, None] + W, axis=2)
    cost = gamma(facts["roundings"], computed_in.unit)
    carried = distance_bounds(facts["rows"]) + cost * together
    one = np.array([1.0, 0.0])
    flushed = (v + D + (1 + facts["largest"]) * one) * 16 * facts["terms"] * computed_in.smallest
    added = one[:, None, None] * (bias[:, None] + bias)
    gaps = D[:, None, None] * carried + cost * (v[:, None, None] * together + added)
    raised = (gaps + flushed[:, None, None]) * RAISED * (1 + facts["rows"].shape[1] * 2.0**-50)
    return np.asarray(raised * apart)


def uncovered_float32(graph: Graph) -> str:
    """Why no float32 runtime is covered; empty where they are."""
    one, farthest = np.array([1.0, 0.0]), 2 * math.sqrt(graph.size)
    norms, errors = _walked(graph, FLOAT32)
    return _uncovered(graph.steps, norms, errors, one, farthest)


def _uncovered(
    steps: Sequence[Step], norms: Tensors, errors: Tensors, one: np.ndarray, farthest: float
) -> str:
    for step in steps:
        reach = [(norms[name] + errors[name]) * RAISED for name in step.operands]
        if step.walked:
            inside = {step.operands[0]: reach[0]}, {step.operands[0]: 0.0 * reach[0]}
            follow(step.inner, *inside, one, FLOAT32)
            found = _uncovered(step.inner, *inside, one, farthest)
            if found:
                return found
            continue
        loss = step.loss
        if loss.uncovered or not loss.roundings * FLOAT32.unit <= 0.5:
            return f"{step.name}: {loss.uncovered or 'sums are too long'}"
        peak = loss.absolute * step.together(reach) + step.offset * one
        largest = max(float(each[0] + each[1] * farthest) for each in reach)
        if not (float(peak[0] + peak[1] * farthest) < FINITE and largest < loss.longest):
            return f"{step.name}: float32 values may overflow"
    return ""


def _walked(graph: Graph, computed_in: Format) -> tuple[Tensors, Tensors]:
    """Norm and error of every tensor; in float32 the image may be rounded on its way in."""
    error = np.zeros(2)
    if computed_in == FLOAT32:
        error = np.array([math.sqrt(graph.size) * FLOAT32.smallest, FLOAT32.unit]) * RAISED
    norms, errors = {graph.source: np.array([0.0, 1.0])}, {graph.source: error}
    follow(graph.steps, norms, errors, np.array([1.0, 0.0]), computed_in)
    return norms, errors
