"""The pages of studies: one to a study, from its `study.json` alone, and an index of them."""

import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from reports.panels import panels_plot
from reports.templates import style_sheet, template
from reports.words import measured, number

LONG_FORM, QUICK_FORM = "long form", "quick form"


def study_page(study: dict[str, Any]) -> str:
    """The page of a study.

    Args:
        study: what `study.json` holds.
    """
    met = sum(each["holds"] for each in study["expectations"])
    return template("study.html.j2").render(
        css=style_sheet(),
        study=study,
        form=QUICK_FORM if study["quick"] else LONG_FORM,
        verdict=_verdict(borne_out=study["borne_out"]),
        met=met,
        rows=[_row(each) for each in study["expectations"]],
        numbers=[(name, _value(value)) for name, value in study["numbers"].items()],
        figure=Markup(study_figure(study)),  # noqa: S704 - our own drawing, its texts escaped
        reading=study["reading"],
    )


def study_figure(study: dict[str, Any]) -> str:
    """The drawing of a study, wide and narrow, that belongs to its page."""
    return panels_plot(study["panels"], name=study["name"], description=study["caption"])


def standalone_figure(study: dict[str, Any]) -> str:
    """The wide drawing as a file of its own: the page's colours go with it."""
    drawing = study_figure(study)
    svg = drawing[drawing.index("<svg") : drawing.index("</svg>") + len("</svg>")]
    colours = "".join(
        re.findall(r"(?:@media[^{]*\{\s*)?:root \{[^}]*\}(?:\s*\})?", style_sheet())[:2]
    )
    style = (
        f"<style>{colours} svg {{ background: var(--paper); font-family: var(--sans); }}</style>"
    )
    opened = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return opened.replace("<title", f"{style}<title", 1) + "\n"


def index_page(studies: Sequence[dict[str, Any]]) -> str:
    """All studies of a folder, with the way to each page.

    Args:
        studies: what each `study.json` holds.
    """
    borne_out = all(study["borne_out"] for study in studies)
    return template("studies.html.j2").render(
        css=style_sheet(),
        verdict=_verdict(borne_out=borne_out),
        studies=studies,
        met=sum(study["borne_out"] for study in studies),
        rows=[
            {
                "name": study["name"],
                "claim": study["claim"],
                "borne_out": study["borne_out"],
                "met": sum(each["holds"] for each in study["expectations"]),
                "of": len(study["expectations"]),
                "form": QUICK_FORM if study["quick"] else LONG_FORM,
            }
            for study in studies
        ],
    )


def _verdict(*, borne_out: bool) -> dict[str, str]:
    """Key of the style sheet, and a word."""
    if borne_out:
        return {"key": "passed", "title": "Borne out"}
    return {"key": "gate_failed", "title": "Not borne out"}


def _row(expectation: dict[str, Any]) -> dict[str, Any]:
    return expectation | {"found": measured(expectation["found"], expected=expectation["expected"])}


def _value(value: float | int | str) -> str:
    return value if isinstance(value, str) else number(value, digits=6)
