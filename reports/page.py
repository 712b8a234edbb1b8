"""The report: one HTML page that needs nothing beside itself.

No script, no font and no picture is loaded from anywhere: it opens from a disk without a network,
prints, and shows the same bytes for the same results.
"""

import math
from typing import Any

import numpy as np
from markupsafe import Markup

from models.errors import CertifyError
from reports import curves, gallery, sections, story, words
from reports.history import training_history
from reports.pictures import most_certified
from reports.results import Results
from reports.rows import Examples, attacked_everywhere, read_certificates
from reports.summary import summarise
from reports.templates import LONG_TABLE, style_sheet, template
from reports.tightness import tightness_section
from reports.verdict import verdict_words


def render_page(results: Results) -> str:
    """The report as one self-contained HTML page.

    Raises:
        CertifyError: If the summary is not what the tables give, or a class has no name.
    """
    examples = read_certificates(results.certificates)
    _refuse_unnamed_classes(results, examples)
    _refuse_foreign_summary(results)
    return template("page.html.j2").render(
        **_first_screen(results, examples),
        **_findings(results, examples),
        **_background(results, examples),
        css=style_sheet(),
        long_table=LONG_TABLE,
    )


def _first_screen(results: Results, examples: Examples) -> dict[str, Any]:
    return {
        "name": str(results.job["name"]),
        "summary": results.summary,
        "refuted": results.summary["verdict"] == "refuted",
        "verdict": verdict_words(results.summary),
        "headline": story.headline(results.summary),
        "certified_words": story.what_was_certified(results),
        "changes_words": story.against_which_changes(results),
        "attack_words": story.did_an_attack_get_through(results, examples),
    }


def _findings(results: Results, examples: Examples) -> dict[str, Any]:
    summary, tightness = results.summary, tightness_section(results, examples)
    if tightness:
        tightness |= {name: _drawing(tightness[name]) for name in ("plot", "histogram")}
    attacked = attacked_everywhere(results.attacks, summary["eps"], examples=len(examples))
    return {
        "tightness": tightness,
        "sampled": 0 < len(attacked) < len(examples),
        "eps": [words.budget(each) for each in summary["eps"]],
        "accuracy": sections.accuracy_rows(summary),
        "bars": sections.fate_bars(results, examples),
        "fates": sections.FATES,
        "curve": _drawing(curves.accuracy_curve(examples, summary, attacked=attacked)),
        "histogram": _drawing(curves.radius_histogram(examples, summary)),
        "mean_radius": words.rounded_down(summary["mean_certified_radius"], decimals=4),
        "breaks": gallery.break_rows(results, examples),
        "strips": gallery.strips(results, examples),
        "class_rows": sections.class_rows(results, examples),
        "wrong_images": int((~examples.correct).sum()),
    }


def _background(results: Results, examples: Examples) -> dict[str, Any]:
    summary = results.summary
    history = ""
    if results.history:
        history = _drawing(training_history(results.history, summary["eps"]))
    shape = story.image_shape(results)
    return {
        "operators": sections.operator_rows(results.bounds),
        "lipschitz_bound": words.rounded_up(results.bounds["lipschitz_bound"], decimals=8),
        "pairs": sections.pair_words(results),
        "worked": story.worked_example(results, examples, most_certified(examples)),
        "float32": summary["certified_accuracy_float32"] is not None,
        "refused_float32": results.bounds.get("refused_float32"),
        "assumptions": results.bounds.get("assumptions", []),
        "root_values": words.number(math.sqrt(math.prod(shape)), digits=3) if shape else None,
        "history": history,
        "gates": sections.gate_rows(summary),
        "stages": sections.stage_rows(summary),
        "total_time": words.duration(sum(summary["seconds"].values())),
        "sources": sections.sources(results),
        "provenance": sections.provenance_rows(results),
        "job": words.toml(results.job),
    }


def _refuse_unnamed_classes(results: Results, examples: Examples) -> None:
    classes = len(results.classes)
    largest = int(max(examples.label.max(), examples.prediction.max(), examples.rival.max()))
    if largest >= classes:
        raise CertifyError(f"class {largest} has no name; {classes} names were given, from 0")
    if np.shape(results.bounds["pair_bounds"]) != (classes, classes):
        raise CertifyError(
            f"the bounds of pairs of classes have the shape "
            f"{np.shape(results.bounds['pair_bounds'])}; accepted is ({classes}, {classes})"
        )


def _refuse_foreign_summary(results: Results) -> None:
    """Rows first: the page repeats no figure that its tables do not give."""
    found = results.summary
    given = ("run", "verdict", "lipschitz_bound", "violations", "seconds", "gates")
    derived = summarise(
        certificates=results.certificates,
        attacks=results.attacks,
        radius_attacks=results.radius_attacks,
        eps=tuple(found["eps"]),
        searched=results.searched,
        **{key: found[key] for key in given},
    )
    differing = [key for key, value in derived.items() if found.get(key) != value]
    if differing:
        raise CertifyError(
            "the summary is not that of these tables: "
            + "; ".join(f"{key} is {found.get(key)}, not {derived[key]}" for key in differing)
        )


def _drawing(svg: str) -> Markup:
    """Our own drawing: its only foreign text, the names of ε, are numbers."""
    return Markup(svg)  # noqa: S704
