"""A claimed break counts only after a recheck of the very image, in float64.

Attack libraries compute in float32 and overshoot the budget by some 1e-8.  An image outside the
ball is pulled back along its own step until its distance, rounded up, is within the budget; then
the program decides, in float64, by more than its rounding can amount to.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from models.proof.bounds import Bounds
from models.proof.certificate import distance_bound, gap_errors, input_norms
from models.proof.program import Program, logits_in_float64

PIXEL_ROUNDING = 2.0**-24
"""More than rounding to float32 moves a pixel in [0, 1]."""


@dataclass(frozen=True)
class Breaks:
    """What is left of claimed breaks, in the order of the batch.

    Attributes:
        confirmed: another class than the label wins, inside the budget and inside [0, 1].
        images: float32, as rechecked.
        predictions: class that wins there.
        distances: L2 from the original, rounded up, in input units.
        gaps: winner's logit over the label's, less all rounding; positive where confirmed.
    """

    confirmed: Bool[np.ndarray, " examples"]
    images: np.ndarray
    predictions: Int[np.ndarray, " examples"]
    distances: Float[np.ndarray, " examples"]
    gaps: Float[np.ndarray, " examples"]


def recheck(
    program: Program,
    bounds: Bounds,
    *,
    originals: np.ndarray,
    attacked: np.ndarray,
    labels: np.ndarray,
    eps: float | np.ndarray,
) -> Breaks:
    """Decide which attacked images are breaks at a budget.

    Args:
        program: what was attacked.
        bounds: what was proved of it; of them only the rounding of gaps is used.
        originals: float32 images in [0, 1].
        attacked: float32 images of the same shape, as an attack left them.
        labels: the classes that should have been kept.
        eps: L2 budget, in input units; one for all or one to an example.
    """
    eps = np.broadcast_to(np.asarray(eps, dtype=np.float64), len(labels))
    images = pulled_inside(originals, attacked, eps=eps)
    rivals, leads = winners(program, bounds, images, labels)
    distances = np.array(
        [distance_bound(*pair) for pair in zip(originals, images, strict=True)], dtype=np.float64
    )
    inside = ((images >= 0) & (images <= 1)).reshape(len(images), -1).all(axis=1)
    confirmed = inside & (leads > 0) & (distances <= eps)
    return Breaks(confirmed, images, rivals, distances, leads)


def winners(
    program: Program, bounds: Bounds, images: np.ndarray, labels: Int[np.ndarray, " examples"]
) -> tuple[Int[np.ndarray, " examples"], Float[np.ndarray, " examples"]]:
    """The class that leads most over each label, and its lead less all that rounding can be.

    A positive lead is a lead in exact arithmetic; of a negative one nothing is said.
    """
    gaps, lost = _gaps(program, bounds, images, labels)
    lead = gaps - lost
    found = lead.argmax(axis=1)
    return found, lead[np.arange(len(labels)), found]


def undecided(
    program: Program, bounds: Bounds, images: np.ndarray, labels: Int[np.ndarray, " examples"]
) -> Bool[np.ndarray, " examples"]:
    """Where float64 tells neither that the label wins nor that it has lost: within its rounding."""
    gaps, lost = _gaps(program, bounds, images, labels)
    open_pairs: np.ndarray = ~(gaps + lost < 0) & ~(gaps - lost > 0)
    lost_already = (gaps - lost > 0).any(axis=1)
    return np.asarray(open_pairs.any(axis=1) & ~lost_already)


def _gaps(
    program: Program, bounds: Bounds, images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every class's logit over the label's, the label's own at -∞, and what rounding can be."""
    logits = logits_in_float64(program, images)
    gaps = logits - logits[np.arange(len(labels)), labels][:, None]
    lost = gap_errors(bounds, labels, input_norms(images)) + 2.0**-52 * np.abs(gaps)
    own = np.arange(program.classes) == labels[:, None]
    return np.where(own, -np.inf, gaps), lost


def pulled_inside(
    originals: np.ndarray, attacked: np.ndarray, *, eps: Float[np.ndarray, " examples"]
) -> np.ndarray:
    """The attacked images, those outside the ball moved to its inner edge; float32 in [0, 1]."""
    images = np.clip(np.asarray(attacked, dtype=np.float32), 0, 1)
    rounding = math.sqrt(originals[0].size) * PIXEL_ROUNDING
    for place, (original, budget) in enumerate(zip(originals, eps, strict=True)):
        distance = distance_bound(original, images[place])
        if distance > budget:
            reach = max(0.0, budget * (1 - 2.0**-40) - rounding)
            step = images[place].astype(np.float64) - original
            shorter = original + step * (reach / distance)
            images[place] = np.clip(shorter.astype(np.float32), 0, 1)
    return images
