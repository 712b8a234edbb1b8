"""Which trials of a sweep are worth looking at: those that no other beats in both accuracies."""

from typing import Any

from reports.words import counted


def judged(trials: list[dict[str, Any]], *, judging: int) -> list[dict[str, Any]]:
    """The trials, each with `dominated_by`: the number of one that beats it, or None.

    A trial beats another if it is at least as good in clean accuracy and in certified accuracy at
    the judging ε, and better in one of them.  Of those that beat a trial, one that is itself beaten
    by none is named, the one with most certified accuracy.

    Args:
        trials: `trial`, `failed`, and where that is None `clean_accuracy` and
            `certified_accuracy`, a list.
        judging: place of ε in that list.

    Returns:
        New rows; those of failed trials have None.
    """
    scores = {
        trial["trial"]: (trial["clean_accuracy"], trial["certified_accuracy"][judging])
        for trial in trials
        if trial["failed"] is None
    }
    front = {number for number in scores if not _beating(number, scores)}
    rows = []
    for trial in trials:
        better = [n for n in _beating(trial["trial"], scores) if n in front]
        best = max(better, key=lambda number: (scores[number][1], -number), default=None)
        rows.append({**trial, "dominated_by": best})
    return rows


def beaten_by_none(front: int, *, trials: int) -> str:
    """What follows the number of trials on the front: "of 3 trials are beaten by none"."""
    return f"of {counted(trials, 'trial')} {'is' if front == 1 else 'are'} beaten by none"


def _beating(number: int, scores: dict[int, tuple[float, float]]) -> list[int]:
    """Trials that beat one; none beats a trial that failed."""
    if number not in scores:
        return []
    clean, certified = scores[number]
    return [
        other
        for other, (c, v) in scores.items()
        if c >= clean and v >= certified and (c, v) != (clean, certified)
    ]
