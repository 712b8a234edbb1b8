"""Signs that attacks failed where the model is not robust: each is named, judged and told.

A gradient that is 0, logits that are probabilities, answers that change from pass to pass, or an
attack without gradients that finds more than one with them: each of them makes robust accuracy
under attack too large.  None of them touches a certificate, which no attack can prove.

Source: Carlini, Athalye, Papernot, Brendel, Rauber, Tsipras, Goodfellow, Madry and Kurakin, "On
Evaluating Adversarial Robustness", arXiv:1902.06705; Athalye, Carlini and Wagner, "Obfuscated
Gradients Give a False Sense of Security", ICML 2018, arXiv:1802.00420.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SUM_TOLERANCE = 1e-3
"""How far from 1 the sum of probabilities may be."""
WITHOUT_GRADIENTS = ("square",)
"""Attacks that ask for logits alone."""


@dataclass(frozen=True)
class Alarm:
    """One sign of masking.

    Attributes:
        name: for a program.
        rings: whether the sign was seen.
        found: what was seen, in a sentence.
    """

    name: str
    rings: bool
    found: str


def zero_gradients(
    program: Callable[[Tensor], Tensor],
    inputs: np.ndarray,
    predictions: Int[np.ndarray, " examples"],
) -> Alarm:
    """Whether the lead over the runner-up has a gradient of exactly 0 at some image, in float32."""
    images = torch.from_numpy(np.ascontiguousarray(inputs)).requires_grad_()
    own = torch.from_numpy(np.asarray(predictions, dtype=np.int64))[:, None]
    logits = program(images)
    lead = logits.gather(1, own) - logits.scatter(1, own, -torch.inf).amax(dim=1, keepdim=True)
    (gradient,) = torch.autograd.grad(lead.sum(), images)
    flat = int((gradient.flatten(1) == 0).all(dim=1).sum())
    found = f"the gradient is exactly 0 at {flat} of {len(inputs)} images"
    return Alarm("zero_gradients", flat > 0, found)


def logits_like_probabilities(logits: Float[np.ndarray, "examples classes"]) -> Alarm:
    """Whether all logits lie in [0, 1] and sum to 1: a softmax before them flattens gradients."""
    inside = bool(((logits >= 0) & (logits <= 1)).all())
    sums = bool((np.abs(logits.sum(axis=1) - 1) < SUM_TOLERANCE).all())
    words = "lie in [0, 1] and sum to 1" if inside and sums else "are no probabilities"
    return Alarm("logits_like_probabilities", inside and sums, f"the logits {words}")


def passes_differ(first: np.ndarray, second: np.ndarray) -> Alarm:
    """Whether two passes over the same images gave other logits."""
    other = int((first != second).reshape(len(first), -1).any(axis=1).sum())
    found = f"two passes gave other logits at {other} of {len(first)} images"
    return Alarm("passes_differ", other > 0, found)


def gradients_lead_nowhere(found_by: Sequence[str]) -> Alarm:
    """Whether smallest changes were found, and most of them by following gradients.

    Args:
        found_by: of each image that was searched the method; empty where nothing was found.
    """
    found = [name for name in found_by if name]
    if not found:
        words = f"no change to another class was found of {len(found_by)} images"
        return Alarm("gradients_lead_nowhere", rings=True, found=words)
    elsewhere = sum(not name.startswith(("ddn", "random")) for name in found)
    words = f"{elsewhere} of {len(found)} smallest changes were not found by following gradients"
    return Alarm("gradients_lead_nowhere", 2 * elsewhere > len(found), words)


def success_does_not_grow(broken: Mapping[float, int]) -> Alarm:
    """Whether attacks broke fewer of the same images at a larger ε.

    Args:
        broken: by ε, how many of the same images were broken.
    """
    budgets = sorted(broken)
    falls = [
        f"{broken[small]} at {small:.4g} and {broken[large]} at {large:.4g}"
        for small, large in itertools.pairwise(budgets)
        if broken[large] < broken[small]
    ]
    words = f"fewer images were broken at a larger ε: {'; '.join(falls)}"
    return Alarm("success_does_not_grow", bool(falls), words if falls else "success grows with ε")


def attacks_missed(
    robust: Mapping[float, Bool[np.ndarray, " examples"]], nearest: Float[np.ndarray, " examples"]
) -> Alarm:
    """Whether images that the attacks left right at an ε have a change within it.

    Args:
        robust: by ε, where an image kept its right answer under attack.
        nearest: the smallest change to a wrong answer that was found, infinite where none was.
    """
    missed = {eps: int((kept & (nearest <= eps)).sum()) for eps, kept in sorted(robust.items())}
    seen = [f"{count} at ε {eps:.4g}" for eps, count in missed.items() if count]
    words = f"a change within ε was found of images that AutoAttack left right: {', '.join(seen)}"
    return Alarm(
        "attacks_missed", bool(seen), words if seen else "no smaller change than AutoAttack's"
    )


def square_beats_gradients(broken: Mapping[str, Bool[np.ndarray, " examples"]]) -> Alarm:
    """Whether an attack without gradients broke images that no attack with gradients broke.

    Args:
        broken: by the attack's name, which of the same images it broke; attacks that were not
            tried on an image that was broken already count as if they had not broken it.
    """
    blind = [broken[name] for name in broken if name in WITHOUT_GRADIENTS]
    guided = [broken[name] for name in broken if name not in WITHOUT_GRADIENTS]
    alone = 0
    if blind and guided:
        alone = int((np.any(blind, axis=0) & ~np.any(guided, axis=0)).sum())
    found = f"{alone} images were broken without gradients and by no attack with them"
    return Alarm("square_beats_gradients", alone > 0, found)
