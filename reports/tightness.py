"""The part of the page that tells how much room is left between the proven and the found."""

from typing import Any

import numpy as np

from reports import sandwich
from reports.changes import Changes, read_changes, shares_seen
from reports.results import Results
from reports.rows import Examples
from reports.words import (
    budget,
    count,
    counted,
    counted_first,
    percent,
    percent_in_words,
    percent_range,
)

ALARMS = {
    "zero_gradients": "Gradients of 0",
    "logits_like_probabilities": "Logits that look like probabilities",
    "passes_differ": "Answers that change from pass to pass",
    "gradients_lead_nowhere": "Gradients that lead nowhere",
    "success_does_not_grow": "Fewer breaks at a larger ε",
    "attacks_missed": "Changes that AutoAttack missed",
    "square_beats_gradients": "Square Attack beats attacks with gradients",
}


def tightness_section(results: Results, examples: Examples) -> dict[str, Any] | None:
    """Drawings, sentences, the table and the alarms; nothing where nothing was searched."""
    if results.searched is None or not results.summary["attacked_examples"]:
        return None
    changes, summary = read_changes(results.searched.perturbations, examples), results.summary
    return {
        "lead": _lead(changes, summary),
        "plot": sandwich.sandwich_plot(changes, summary) if summary["search"]["found"] else "",
        "histogram": sandwich.tightness_histogram(changes) if len(changes.tightness) else "",
        "wrong": bool((~changes.correct & np.isfinite(changes.distance)).any()),
        "inside": bool((changes.distance < changes.radius).any()),
        "rows": sandwich_rows(summary),
        "float32": _in_float32(changes, summary),
        "undecided": _undecided(summary),
        "pairs": _pairs(results),
        "alarms": [
            {
                "name": ALARMS.get(alarm["name"], alarm["name"]),
                "rings": bool(alarm["rings"]),
                "found": str(alarm["found"]),
            }
            for alarm in results.searched.masking
        ],
    }


def sandwich_rows(summary: dict[str, Any]) -> list[dict[str, str]]:
    """For each ε, on the attacked images: clean, robust, certified, and what nobody knows."""
    columns = (
        summary["eps"],
        summary["robust_accuracy"],
        summary["search"]["robust_accuracy"],
        summary["certified_accuracy_attacked"],
    )
    clean, images = summary["clean_accuracy_attacked"], summary["attacked_examples"]
    return [
        {
            "eps": budget(eps),
            "clean": percent(clean),
            "attacked": percent(attacked),
            "together": percent(together),
            "certified": percent(certified),
            "gap": f"{100 * (together - certified):.1f} points",
            "gap_images": counted(round((together - certified) * images), "image"),
        }
        for eps, attacked, together, certified in zip(*columns, strict=True)
    ]


def _lead(changes: Changes, summary: dict[str, Any]) -> str:
    found, middle = summary["search"], summary["search"]["median_tightness"]
    text = (
        f"Of {counted(len(changes.row), 'attacked image')} the smallest change was looked for that "
        "moves it to another class than the predicted one, in at most "
        f"{count(found['passes'])} passes of the network each. "
    )
    if found["found"] < found["examples"]:
        none = found["examples"] - found["found"]
        text += f"{counted_first(none, 'image')} could not be moved to another class. "
    if middle is None:
        return text + "No image has both a radius and such a change."
    if (changes.distance < changes.radius).any():
        return text + "Some are shorter than the radius that was claimed: they refute the run."
    return text + (
        "None is shorter than the radius, and the median radius is "
        f"{percent_in_words(middle)} of it. The truth lies between: a better proof could raise the "
        "radius, a better attack could find a shorter change, and neither can cross the other."
    )


def _in_float32(changes: Changes, summary: dict[str, Any]) -> str:
    if not np.isfinite(changes.distance_float32).any():
        return ""
    breaks = summary["search"]["float32_breaks"]
    if not breaks:
        return (
            "Along the same ways ONNX Runtime, in float32, left no class nearer than the proven "
            "radius."
        )
    verb = "leaves its class" if breaks == 1 else "leave their class"
    return (
        f"In ONNX Runtime, in float32, {counted(breaks, 'image')} {verb} a little inside the "
        "radius, where rounding decides. That is expected: the radius speaks of exact arithmetic, "
        "the float32 radius of runtimes, and none is inside that one."
    )


def _undecided(summary: dict[str, Any]) -> str:
    undecided = summary["search"]["undecided"]
    if not undecided:
        return ""
    return (
        f"At the very edge of {counted(undecided, 'radius', 'radii')} float64 cannot tell the "
        "class, and the network has no exact logits, or is too large for them: the change found "
        "there is as short as the radius is long, and counts for neither side."
    )


def _pairs(results: Results) -> str:
    """How much of the bounds of two classes' leads was seen."""
    if results.searched is None or not len(seen := shares_seen(results.searched.stretches)):
        return ""
    least, most = float(seen.min()), float(seen.max())
    if most > 1:
        return "Two inputs move the lead of one class over another by more than its bound allows."
    return (
        "Pairs of inputs were looked for that move such a lead the most: they reach "
        f"{percent_range(least, most)} of its bound, and none exceeds it."
    )
