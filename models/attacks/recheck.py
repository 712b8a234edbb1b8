"""A claimed break counts only after a recheck of the very image, in float64.

Attack libraries compute in float32 and overshoot the budget by some 1e-8.  An image outside the
ball is pulled back along its own step until its distance, rounded up, is within the budget; then
the program decides, in float64, by more than its rounding can amount to.  Where it cannot, exact
arithmetic decides, if the program is piecewise linear and not too large.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, Int

from models.attacks.exact_logits import affordable_passes, exact_logits
from models.errors import SoundnessError
from models.proof.bounds import Bounds
from models.proof.certificate import distance_bound, gap_errors, input_norms
from models.proof.program import Program, logits_in_float64

SMALLEST = 2.0**-1074
"""The smallest float64 above 0."""
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
        undecided: inside the budget and inside [0, 1], and no arithmetic here tells.
    """

    confirmed: Bool[np.ndarray, " examples"]
    images: np.ndarray
    predictions: Int[np.ndarray, " examples"]
    distances: Float[np.ndarray, " examples"]
    gaps: Float[np.ndarray, " examples"]
    undecided: Bool[np.ndarray, " examples"]

    def or_nearer(self, others: "Breaks") -> "Breaks":
        """Each row of the other breaks where that is confirmed and nearer, or this one is not."""
        nearer = others.confirmed & ~(self.confirmed & (self.distances <= others.distances))
        chosen = {
            name: np.where(nearer.reshape(-1, *[1] * (mine.ndim - 1)), getattr(others, name), mine)
            for name, mine in vars(self).items()
        }
        return Breaks(**chosen)


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

    Raises:
        SoundnessError: If exact arithmetic contradicts what is proved of float64's rounding.
    """
    eps = np.broadcast_to(np.asarray(eps, dtype=np.float64), len(labels))
    images = pulled_inside(originals, attacked, eps=eps)
    gaps, lost = _gaps(program, bounds, images, labels)
    distances = np.array(
        [distance_bound(*pair) for pair in zip(originals, images, strict=True)], dtype=np.float64
    )
    inside = ((images >= 0) & (images <= 1)).reshape(len(images), -1).all(axis=1)
    within = inside & (distances <= eps)
    open_rows = within & ~(gaps - lost > 0).any(axis=1) & ~(gaps + lost < 0).all(axis=1)
    for row in np.flatnonzero(open_rows)[: affordable_passes(program)].tolist():
        gaps[row], lost[row] = _exact_gaps(
            program, images[row], int(labels[row]), gaps[row], lost[row]
        )
        open_rows[row] = False
    rivals, leads = _most(gaps - lost)
    return Breaks(within & (leads > 0), images, rivals, distances, leads, open_rows)


def winners(
    program: Program, bounds: Bounds, images: np.ndarray, labels: Int[np.ndarray, " examples"]
) -> tuple[Int[np.ndarray, " examples"], Float[np.ndarray, " examples"]]:
    """The class that leads most over each label, and its lead less all that rounding can be.

    A positive lead is a lead in exact arithmetic; of a negative one nothing is said.
    """
    gaps, lost = _gaps(program, bounds, images, labels)
    return _most(gaps - lost)


def _gaps(
    program: Program, bounds: Bounds, images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every class's logit over the label's, the label's own at -∞, and what rounding can be."""
    logits = logits_in_float64(program, images)
    gaps = logits - logits[np.arange(len(labels)), labels][:, None]
    lost = gap_errors(bounds, labels, input_norms(images)) + 2.0**-52 * np.abs(gaps)
    own = np.arange(program.classes) == labels[:, None]
    return np.where(own, -np.inf, gaps), lost


def _most(leads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class of each row's largest lead, and that lead."""
    found = leads.argmax(axis=1)
    return found, leads[np.arange(len(leads)), found]


def _exact_gaps(
    program: Program, image: np.ndarray, label: int, gaps: np.ndarray, lost: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same gaps without rounding, held against those with it.

    As float64 numbers they are rounded towards 0, and one that is not 0 stays so.
    """
    logits = exact_logits(program, image)
    exact = np.full_like(gaps, -np.inf)
    for rival, logit in enumerate(logits):
        if rival == label:
            continue
        gap = logit - logits[label]
        known = math.isfinite(gaps[rival]) and math.isfinite(lost[rival])
        if known and abs(gap - Fraction(gaps[rival])) > Fraction(lost[rival]):
            raise SoundnessError(
                f"the logit of class {rival} over that of class {label} is {float(gap):.17g}; "
                f"float64 found {gaps[rival]:.17g}, and its rounding was bounded by "
                f"{lost[rival]:.3g}"
            )
        exact[rival] = _towards_zero(gap)
    return exact, np.zeros_like(lost)


def _towards_zero(number: Fraction) -> float:
    """A float64 of the same sign and no greater size, but for numbers below the smallest one."""
    nearest = float(number)
    if abs(Fraction(nearest)) > abs(number):
        nearest = float(np.nextafter(nearest, 0))
    return nearest or math.copysign(float(number != 0), number) * SMALLEST


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
