"""Certified radii from logits: the one theorem that the service rests on.

Under a perturbation δ of x the gap z_c - z_j of a program moves by at most L_cj ‖δ‖.  So the
prediction c survives every δ shorter than min_j (z_c - z_j) / L_cj.  What was computed of the gap
is first lowered by all that rounding can have added to it, and the quotient is rounded down.

Two radii, never mixed up.  `radius` speaks of the program in exact arithmetic.  `radius_float32`
speaks of the program as a float32 runtime computes it, operator by operator: within it every
computed gap stays positive, since it falls by at most L_cj ε + A_cj + B_cj (‖x‖ + ε).

Source: Leino, Wang and Fredrikson, "Globally-Robust Neural Networks", ICML 2021, arXiv:2102.08452.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from models.errors import DataError, VerificationError
from models.proof.bounds import Bounds, GapError
from models.proof.program import Program, logits_in_float64
from models.proof.upward import up, up_array

DOWN = 1 - 2.0**-50
"""Rounds a quotient of positive numbers down, after up to six operations."""


@dataclass(frozen=True)
class Certificates:
    """What is certified of each example, in order.

    Attributes:
        predictions: class with the largest logit.
        rivals: the other class that limits the radius.
        margins: prediction's logit over the best other one.
        radii: L2, in input units; open balls; 0 where nothing is certified.
        radii_float32: the same for a float32 runtime; None where it is not covered.
    """

    predictions: Int[np.ndarray, " examples"]
    rivals: Int[np.ndarray, " examples"]
    margins: Float[np.ndarray, " examples"]
    radii: Float[np.ndarray, " examples"]
    radii_float32: Float[np.ndarray, " examples"] | None


def certify_examples(program: Program, bounds: Bounds, inputs: np.ndarray) -> Certificates:
    """Certify every image of a batch.

    Args:
        program: what ships.
        bounds: what was proved of it.
        inputs: float32 in [0, 1], of the program's shape, batch first.

    Raises:
        DataError: If an image is of another kind, shape or range.
        VerificationError: If the bounds speak of another program.
    """
    if bounds.program_sha256 != program.sha256:
        raise VerificationError(
            f"the bounds speak of program {bounds.program_sha256[:12]}, "
            f"and the file holds {program.sha256[:12]}"
        )
    check_inputs(program, inputs)
    logits = logits_in_float64(program, inputs)
    return certified_radii(logits, input_norms(inputs), bounds=bounds)


def certified_radii(
    logits: Float[np.ndarray, "examples classes"],
    norms: Float[np.ndarray, " examples"],
    *,
    bounds: Bounds,
) -> Certificates:
    """Radii inside which each prediction provably stays.

    Args:
        logits: evaluated in float64.
        norms: upper bounds on the L2 norms of the inputs.
        bounds: what was proved of the program.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        predictions, gaps, lost = _gaps(logits, norms, bounds)
        by_rival = radii_by_rival(logits, norms, bounds=bounds)
        by_rival_float32 = None
        if bounds.float32 is not None:
            lost = _up_or_infinite(lost + _lost(bounds.float32, predictions, norms), 4)
            slope = bounds.float32.slope[predictions]
            pair_bounds = up_array(bounds.pair_bounds[predictions] + slope, 1)
            by_rival_float32 = _radius_by_rival(
                gaps, lost, pair_bounds, predictions, bounds.input_size
            )
        others = np.where(_own(predictions, logits.shape[1]), math.inf, gaps)
        # Where several rivals limit the radius (all at 0, say), the closest of them is named.
        limit = by_rival.min(axis=1, keepdims=True)
        rivals = np.where(by_rival == limit, others, math.inf).argmin(axis=1)
    return Certificates(
        predictions=predictions,
        rivals=rivals,
        margins=others.min(axis=1),
        radii=by_rival.min(axis=1),
        radii_float32=None if by_rival_float32 is None else by_rival_float32.min(axis=1),
    )


def radii_by_rival(
    logits: Float[np.ndarray, "examples classes"],
    norms: Float[np.ndarray, " examples"],
    *,
    bounds: Bounds,
) -> Float[np.ndarray, "examples classes"]:
    """Radii inside which each rival provably stays behind the prediction, in exact arithmetic.

    Args:
        logits: evaluated in float64.
        norms: upper bounds on the L2 norms of the inputs.
        bounds: what was proved of the program.

    Returns:
        L2, in input units; 0 where nothing is proved; the diameter at the prediction itself.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        predictions, gaps, lost = _gaps(logits, norms, bounds)
        pair_bounds = bounds.pair_bounds[predictions]
        return _radius_by_rival(gaps, lost, pair_bounds, predictions, bounds.input_size)


def gap_errors(
    bounds: Bounds, predictions: Int[np.ndarray, " examples"], norms: Float[np.ndarray, " examples"]
) -> Float[np.ndarray, "examples classes"]:
    """How far each computed float64 gap may be from the exact one, its own subtraction apart."""
    return _up_or_infinite(_lost(bounds.float64, predictions, norms), 6)


def input_norms(inputs: np.ndarray) -> Float[np.ndarray, " examples"]:
    """Upper bounds on the L2 norms of float32 inputs, or of their float64 differences."""
    flat = np.asarray(inputs, dtype=np.float64).reshape(len(inputs), -1)
    return up_array(np.sqrt(np.square(flat).sum(axis=1)), flat.shape[1] + 4)


def check_inputs(program: Program, inputs: np.ndarray) -> None:
    """Refuse images that the certificate does not speak of.

    Raises:
        DataError: If they are not float32, of another shape, not finite or outside [0, 1].
    """
    if inputs.dtype != np.float32 or inputs.shape[1:] != program.input_shape:
        raise DataError(
            f"found images of type {inputs.dtype} and shape {list(inputs.shape[1:])}; accepted are "
            f"float32 images of shape {list(program.input_shape)}"
        )
    inside = ((inputs >= 0) & (inputs <= 1)).reshape(len(inputs), -1).all(axis=1)
    if not inside.all():
        example = int(inside.argmin())
        raise DataError(f"image {example} has a pixel outside [0, 1] or NaN; accepted are [0, 1]")


def _gaps(
    logits: np.ndarray, norms: np.ndarray, bounds: Bounds
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, their logits over every class's, and what rounding can have added to those."""
    predictions = logits.argmax(axis=1)
    gaps = np.take_along_axis(logits, predictions[:, None], axis=1) - logits
    lost = _lost(bounds.float64, predictions, norms) + 2.0**-52 * np.abs(gaps)
    return predictions, gaps, _up_or_infinite(lost, 6)


def _lost(error: GapError, predictions: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """A + B s for each rival."""
    lost: np.ndarray = error.constant[predictions] + error.slope[predictions] * norms[:, None]
    return lost


def _up_or_infinite(values: np.ndarray, roundings: int) -> np.ndarray:
    """Round up; what is not a number certifies nothing."""
    return up_array(np.where(np.isnan(values), math.inf, values), roundings)


def _own(predictions: np.ndarray, classes: int) -> np.ndarray:
    own: np.ndarray = np.arange(classes) == predictions[:, None]
    return own


def _radius_by_rival(
    gaps: np.ndarray,
    lost: np.ndarray,
    pair_bounds: np.ndarray,
    predictions: np.ndarray,
    input_size: int,
) -> np.ndarray:
    """(gap - lost) / L, rounded down, between 0 and the diameter of [0, 1]^d."""
    diameter = math.sqrt(input_size) * DOWN
    left = gaps - lost
    quotient = np.where(pair_bounds == 0, diameter, left / pair_bounds * DOWN)
    radius = np.where(left > 0, np.minimum(quotient, diameter), 0.0)  # NaN is not above 0
    finite = np.isfinite(gaps).all(axis=1, keepdims=True)
    radius = np.where(finite, radius, 0.0)
    return np.where(_own(predictions, gaps.shape[1]), np.where(finite, diameter, 0.0), radius)


def distance_bound(start: np.ndarray, end: np.ndarray) -> float:
    """L2 distance of two float32 images, in float64, rounded up."""
    step = np.asarray(end, dtype=np.float64) - np.asarray(start, dtype=np.float64)
    return up(float(np.sqrt(np.square(step).sum())), step.size + 4)
