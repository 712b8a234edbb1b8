"""Products with a constant matrix, and BatchNormalization: a factor and a shift to a channel."""

import math

import numpy as np

from models.audit.arithmetic import above
from models.audit.node import Node
from models.audit.norms import absolute_bound, norm_bound
from models.audit.step import Loss, Step

QUIET = (2.0**-100, 2.0**100)
LARGE = 2.0**125


def gemm(node: Node) -> list[Step]:
    """Of a batch of rows, alpha x Wᵀ + beta b."""
    alpha, beta = (float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    weight = node.weight(1)
    if node.attributes.get("transA", 0) or weight.ndim != 2 or len(node.shape()) != 1:
        raise node.refuse("anything but a batch of rows times a constant matrix")
    if not math.isfinite(alpha + beta):
        raise node.refuse("alpha or beta that is not finite")
    W = weight if node.attributes.get("transB", 0) else weight.T
    bias = np.zeros(len(W))
    if node.given(2):
        stored = node.weight(2)
        if stored.shape not in ((), (1,), (1, 1), (len(W),), (1, len(W))):
            raise node.refuse("a bias of another shape")
        bias = beta * np.broadcast_to(stored.reshape(-1), (len(W),))
    more = 3 if (alpha, beta) != (1, 1) else 1
    return [_dense(node, W, alpha, bias, roundings=W.shape[1] + more, louder=(alpha, beta))]


def matmul(node: Node) -> list[Step]:
    """Along the last axis, x Wᵀ."""
    weight = node.weight(1)
    if weight.ndim != 2:
        raise node.refuse("anything but an activation times a constant matrix")
    bias = np.zeros(weight.shape[1])
    node.fits((*node.shape()[:-1], weight.shape[1]))
    roundings = weight.shape[0] + 1
    return [_dense(node, weight.T, 1.0, bias, roundings=roundings, louder=(1.0, 1.0))]


def _dense(
    node: Node,
    W: np.ndarray,
    alpha: float,
    bias: np.ndarray,
    *,
    roundings: int,
    louder: tuple[float, float],
) -> Step:
    """The map x ↦ x Mᵀ + c with M = alpha W, products of two float32 that float64 holds."""
    M = alpha * W
    loud = max(1.0, *(abs(each) for each in louder))
    largest = float(np.abs(W).max())
    facts = {
        "rows": M,
        "bias": bias,
        "roundings": roundings,
        "terms": W.shape[1] * math.ceil(loud),
        "largest": largest,
        "plain": alpha == 1,
    }

    def rounds() -> Loss:
        return Loss(
            roundings=roundings,
            absolute=absolute_bound(W) * max(1.0, abs(alpha)) * (1 + 2.0**-50),
            terms=facts["terms"],
            largest=largest,
        )

    def run(x: np.ndarray) -> np.ndarray:
        return np.asarray(x @ M.T + bias)

    return node.step(run, prove=lambda: norm_bound(M), rounds=rounds, facts=facts)


def batch_normalization(node: Node) -> list[Step]:
    """γ (x - mean) / √(var + ε) + β, channel by channel.

    Runtimes multiply by γ and divide by √(var + ε) in any order: what underflows may grow by
    1/√(var + ε) afterwards, and values on the way may be as large as both make them.
    """
    if node.attributes.get("training_mode", 0) or len([name for name in node.outputs if name]) > 1:
        raise node.refuse("training")
    gamma, beta, mean, variance = (node.weight(place) for place in (1, 2, 3, 4))
    channels, *sides = node.shape()
    if any(each.shape != (channels,) for each in (gamma, beta, mean, variance)):
        raise node.refuse("weights of another shape")
    spread = variance + float(np.float32(node.attributes.get("epsilon", 1e-5)))
    if not (np.isfinite(spread).all() and spread.min() > 0):
        raise node.refuse("var + epsilon of 0 or less")
    factors = gamma / np.sqrt(spread)
    along = (-1, *[1] * len(sides))
    steepest = above(1 / math.sqrt(float(spread.min())), 4)
    factor = above(float(np.abs(factors).max()), 4) if factors.any() else 0.0
    farthest = float(np.abs(mean).max())
    longest = LARGE / max(1.0, float(np.abs(gamma).max())) / max(1.0, steepest)
    quiet = QUIET[0] <= spread.min() and spread.max() <= QUIET[1] and farthest < longest

    def run(x: np.ndarray) -> np.ndarray:
        return np.asarray((x - mean.reshape(along)) * factors.reshape(along) + beta.reshape(along))

    def rounds() -> Loss:
        return Loss(
            roundings=8,
            absolute=factor,
            terms=math.ceil(2 * (1 + factor) * (1 + steepest)),
            largest=factor + farthest,
            longest=longest,
            uncovered="" if quiet else "var + ε or a mean is outside what float32 holds",
        )

    return [node.step(run, prove=lambda: factor, rounds=rounds)]
