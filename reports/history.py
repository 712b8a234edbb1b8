"""The drawing of the course of training: loss, and accuracies on the validation images."""

import itertools
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.curves import percent_axis
from reports.svg import INK, PROVEN, RULE, drawn
from reports.words import budget, percent

WIDE, NARROW = (880, 280), (352, 440)
TITLE = "validation images: clean, and certified (estimated)"
TITLE_NARROW = "clean, and certified (estimated),\non the validation images\n"
"""Its last line stays empty: the names at the ends of the lines reach into it."""


def training_history(history: list[dict[str, Any]], eps: Sequence[float]) -> str:
    """Loss by epoch and, where they were measured, accuracies on the validation images.

    While training certified accuracy is an estimate: the proof is made from the exported file.
    """
    first = history[0]["epoch"] - 1  # epochs are drawn from 1, also where they count from 0
    measured = [each for each in history if each.get("clean_accuracy") is not None]
    estimates = [(each["epoch"] - first, _estimates(each)) for each in measured]
    estimates = [(epoch, found) for epoch, found in estimates if len(found) == len(eps)]

    def draw(figure: Figure, narrow: bool) -> None:
        panels = 1 + bool(measured)
        grid = (panels, 1) if narrow else (1, panels)
        loss = figure.add_subplot(*grid, 1)
        loss.set_title("training loss", loc="left")
        _line(loss, [(each["epoch"] - first, each["loss"]) for each in history], color=INK)
        loss.yaxis.set_major_locator(MaxNLocator(4))
        panes = [loss]
        if measured:
            accuracy = figure.add_subplot(*grid, 2)
            panes.append(accuracy)
            percent_axis(accuracy)
            accuracy.set_title(TITLE_NARROW if narrow else TITLE, loc="left")
            clean = [(each["epoch"] - first, each["clean_accuracy"]) for each in measured]
            lines = [("clean", clean, INK)]
            for place, each in enumerate(eps):
                points = [(epoch, found[place]) for epoch, found in estimates]
                if points:
                    lines.append((f"ε {budget(each)}", points, PROVEN))
            for _, points, colour in lines:
                _line(accuracy, points, color=colour)
            _label_ends(accuracy, lines, apart=0.11 if narrow else 0.08)
        for axes in panes:
            axes.set_xlabel("epoch" if axes is panes[-1] or not narrow else "")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))

    start, end = history[0]["loss"], history[-1]["loss"]
    words = f"The loss goes from {start:.3g} to {end:.3g} in {len(history)} epochs."
    if measured:
        words += f" Clean validation accuracy ends at {percent(measured[-1]['clean_accuracy'])}."
    return drawn(
        draw,
        name="history",
        title="Course of training",
        description=words,
        sizes=(WIDE, NARROW),
    )


def _estimates(metrics: dict[str, Any]) -> Sequence[float]:
    for key in ("certified_accuracy", "estimated_certified_accuracy"):
        if metrics.get(key):
            return list(metrics[key])
    return []


def _line(axes: Axes, points: Sequence[tuple[int, float]], *, color: str) -> None:
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=color, linewidth=1.8, marker="o" if len(points) < 3 else "", ms=5)


def _label_ends(axes: Axes, lines: Sequence[tuple[str, Any, str]], *, apart: float) -> None:
    """Name each line at its right end; the lines are given from the one that is never below."""
    heights = spread([points[-1][1] for _, points, _ in lines], apart=apart)
    for (name, points, colour), height in zip(lines, heights, strict=True):
        axes.annotate(
            name,
            (points[-1][0], height),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            size=11,
            annotation_clip=False,
        )
    axes.spines["bottom"].set_color(RULE)


def spread(heights: Sequence[float], *, apart: float) -> list[float]:
    """Heights of names that do not touch: in falling order, equal ones in the order given.

    Names are pushed up from the lowest; where that leaves the top, all give way downwards, and
    only where there is no room for all of them do some stand below 0.
    """
    order = sorted(range(len(heights)), key=lambda place: (heights[place], -place))
    found = list(heights)
    for below, above in itertools.pairwise(order):
        found[above] = max(found[above], found[below] + apart)
    ceiling = max(1.0, *heights)
    for place in reversed(order):
        found[place] = min(found[place], ceiling)
        ceiling = found[place] - apart
    return found
