"""The verdict of a run in words, for the page and the terminal, and what it leaves open."""

import re
from typing import Any

from reports.words import count, counted, joined, percent_in_words

TITLES = {
    "passed": "Passed",
    "gate_failed": "Gate failed",
    "refuted": "Refuted",
    "incomplete": "Incomplete",
}
FLOOR = re.compile(r"\s*\w+_accuracy(?:@\S+?)?\s*(>=|==|>)\s*(\S+)\s*")
"""A gate that sets a floor under an accuracy: the comparison, and the floor."""


def verdict_words(summary: dict[str, Any]) -> dict[str, str]:
    """The verdict as a key for its colour and icon, a title, a sentence, and a caveat or ""."""
    verdict = summary["verdict"]
    failed = [gate for gate in summary["gates"] if not gate["passed"]]
    if verdict == "passed":
        text = "No attack got inside a certified radius, so every certificate stands"
        if gates := len(summary["gates"]):
            text += f"; {'the gate' if gates == 1 else f'all {gates} gates'} of the job hold"
            text += "s" if gates == 1 else ""
        text += "."
    elif verdict == "gate_failed":
        fail = f"{len(failed)} of {counted(len(summary['gates']), 'gate')} of the job "
        fail += "fails" if len(failed) == 1 else "fail"
        text = (
            f"No attack broke a certificate, but {fail}: "
            f"{joined([str(gate['gate']) for gate in failed])}."
        )
    elif verdict == "refuted":
        times = "" if summary["violations"] == 1 else f", {count(summary['violations'])} times"
        text = (
            f"An attack changed the answer inside a radius that was said to be safe{times}. The "
            "bound behind every radius is wrong, so no radius of this run may be relied on."
        )
    else:
        text = "The run stopped before its end. This page shows what was finished, and no more."
    return {"key": verdict, "title": TITLES[verdict], "text": text, "caveat": caveat(summary)}


def caveat(summary: dict[str, Any]) -> str:
    """That no accuracy was asked for, where gates were judged and none asks for any; else ""."""
    if summary["verdict"] not in ("passed", "gate_failed") or asks_for_accuracy(summary["gates"]):
        return ""
    return (
        "No accuracy was asked for: no gate sets a floor under any, and clean accuracy is "
        f"{percent_in_words(summary['clean_accuracy'])}."
    )


def asks_for_accuracy(gates: list[dict[str, Any]]) -> bool:
    """Whether a gate on an accuracy would fail a model that is always wrong."""
    floors = [FLOOR.fullmatch(str(gate["gate"])) for gate in gates]
    return any(
        float(floor[2]) >= 0 if floor[1] == ">" else float(floor[2]) > 0
        for floor in floors
        if floor is not None
    )
