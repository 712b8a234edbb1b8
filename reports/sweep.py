"""The report of a sweep: the trials that no other beats, on one HTML page like that of a run."""

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from reports.front import beaten_by_none
from reports.svg import MUTED, PAPER, PROVEN, WRONG, drawn
from reports.templates import LONG_TABLE, style_sheet, template
from reports.words import at_budget, budget, counted, duration, percent, rounded_up


def render_sweep(summary: dict[str, Any]) -> str:
    """The report as one self-contained HTML page.

    Args:
        summary: what the sweep wrote down: `trials`, each with its values and figures or with why
            it `failed`, `eps`, and `judging`, the place of the ε at which trials are compared.
    """
    front = _front(summary)
    return template("sweep.html.j2").render(
        summary=summary,
        eps=[budget(each) for each in summary["eps"]],
        judging=at_budget(summary["eps"][summary["judging"]]),
        keys=sorted({key for trial in summary["trials"] for key in trial["values"]}),
        rows=[_row(trial) for trial in _ordered(summary)],
        front=[_row(trial) for trial in front],
        failed=[trial for trial in summary["trials"] if trial["failed"] is not None],
        trials=counted(len(summary["trials"]), "trial"),
        beaten_by_none=beaten_by_none(len(front), trials=len(summary["trials"])),
        images=counted(summary["examples"], "image"),
        error=percent(0.5 / summary["examples"] ** 0.5),
        drawing=Markup(_drawing(summary)) if front else "",  # noqa: S704 - our own drawing
        css=style_sheet(),
        long_table=LONG_TABLE,
    )


def _front(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Trials that none beats, from most certified accuracy to most clean accuracy."""
    return [
        trial
        for trial in _ordered(summary)
        if trial["failed"] is None and trial["dominated_by"] is None
    ]


def _ordered(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """By certified accuracy at the judging ε; failed trials last."""
    place = summary["judging"]

    def rank(trial: dict[str, Any]) -> tuple[bool, float, float, int]:
        if trial["failed"] is not None:
            return True, 0.0, 0.0, trial["trial"]
        certified = trial["certified_accuracy"][place]
        return False, -certified, -trial["clean_accuracy"], trial["trial"]

    return sorted(summary["trials"], key=rank)


def _row(trial: dict[str, Any]) -> dict[str, Any]:
    """A trial as the table shows it."""
    row = {
        "trial": trial["trial"],
        "run": trial["run"],
        "values": {key: _value(value) for key, value in trial["values"].items()},
        "failed": trial["failed"],
        "dominated_by": trial["dominated_by"],
    }
    if trial["failed"] is not None:
        return row
    return row | {
        "clean": percent(trial["clean_accuracy"]),
        "certified": [percent(share) for share in trial["certified_accuracy"]],
        "bound": rounded_up(trial["lipschitz_bound"], decimals=4),
        "epochs": trial["epochs"],
        "seconds": duration(trial["training_seconds"]),
    }


def _value(found: Any) -> str:
    if isinstance(found, float):
        return f"{found:g}"
    if isinstance(found, list):
        return ", ".join(_value(each) for each in found)
    if isinstance(found, dict):
        return ", ".join(f"{key} {_value(each)}" for key, each in found.items())
    return str(found)


def _drawing(summary: dict[str, Any]) -> str:
    """Each trial by its clean and its certified accuracy, and the line of those that none beats."""
    place, front = summary["judging"], _front(summary)
    done = [trial for trial in summary["trials"] if trial["failed"] is None]
    beaten = [trial for trial in done if trial["dominated_by"] is not None]

    def points(trials: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
        return (
            [trial["clean_accuracy"] for trial in trials],
            [trial["certified_accuracy"][place] for trial in trials],
        )

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        axes.set_title(f"certified accuracy at {at_budget(summary['eps'][place])}", loc="left")
        axes.set_xlabel("clean accuracy" if narrow else "clean accuracy, on the validation images")
        axes.plot(*points(beaten), "o", ms=7, mfc=WRONG, mec=PAPER, mew=1, zorder=3)
        axes.plot(*points(front), "o-", color=PROVEN, ms=9, mec=PAPER, mew=1, lw=1.6, zorder=4)
        for at, numbers in _by_place(zip(*points(done), strict=True), done).items():
            axes.annotate(
                ", ".join(numbers),
                at,
                xytext=(6, 6),
                textcoords="offset points",
                color=MUTED,
                size=11,
            )
        axes.margins(0.12)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
            axis.set_major_formatter(PercentFormatter(xmax=1, decimals=1, symbol=" %"))

    best = front[0]
    words = (
        f"{len(front)} {beaten_by_none(len(front), trials=len(done))}; most certified accuracy, "
        f"{percent(best['certified_accuracy'][place])} with {percent(best['clean_accuracy'])} "
        f"clean, has trial {best['trial']}."
    )
    return drawn(draw, name="front", title="Clean against certified accuracy", description=words)


def _by_place(
    places: Iterable[tuple[float, float]], trials: list[dict[str, Any]]
) -> dict[tuple[float, float], list[str]]:
    """Numbers of the trials at each place of the drawing: one label says them all."""
    found: dict[tuple[float, float], list[str]] = {}
    for at, trial in zip(places, trials, strict=True):
        found.setdefault(at, []).append(str(trial["trial"]))
    return found
