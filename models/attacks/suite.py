"""Which of AutoAttack's attacks run on a classifier, and in which order.

The suite is `standard` wherever that exists.  With fewer than ten classes it would ask for more
target classes than there are, so the same attacks run with every other class as a target; the
difference-of-logits-ratio loss needs three classes and its targeted form four.

Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, arXiv:2003.01690; package pyautoattack.
"""

SMALLEST_SIDE = 5
"""Square attack places its first tiles on a fifth of the image's side."""
MOST_TARGETS = 9
"""Classes that the targeted attacks aim at, the likeliest first."""

TARGETED = ("apgd-t", "fab-t")
"""Attacks that aim at one class after another."""


def attack_names(classes: int, input_shape: tuple[int, ...]) -> tuple[str, ...]:
    """The attacks that run, in order; each one on what the earlier ones did not break.

    Args:
        classes: how many the classifier knows.
        input_shape: of one example; height and width come last.
    """
    names: tuple[str, ...] = ("apgd-ce", "apgd-t", "fab-t")
    if classes < 4:
        names = ("apgd-ce", "apgd-dlr", "fab") if classes == 3 else ("apgd-ce", "fab")
    fits_square = min(input_shape[-2:]) >= SMALLEST_SIDE
    return (*names, "square") if fits_square else names


def target_classes(classes: int) -> int:
    """How many classes the targeted attacks aim at."""
    return min(MOST_TARGETS, classes - 1)
