"""Drawings of what is proven against what was found: the sandwich, and how tight it is."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)

from reports.changes import Changes
from reports.svg import BROKEN, HELD, INK, MUTED, PAPER, PROVEN, WRONG, drawn
from reports.words import counted, number, percent, percent_range

SIZES = ((880, 460), (352, 380))
HISTOGRAM = ((880, 260), (352, 240))
SHORTEST = 1e-3
"""What is shorter is drawn there: a logarithm has no place for 0."""
TICKS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def sandwich_plot(changes: Changes, summary: dict[str, Any]) -> str:
    """Each searched image at its proven radius and its smallest known change, on log axes.

    Above the diagonal a change is longer than the radius; below it nothing may lie.
    """
    found = np.isfinite(changes.distance)
    radius = np.maximum(changes.radius[found], SHORTEST)
    distance = np.maximum(changes.distance[found], SHORTEST)
    inside, correct = changes.distance[found] < changes.radius[found], changes.correct[found]
    low = 0.8 * float(np.quantile(np.minimum(radius, distance), 0.01, method="lower"))
    high = 1.25 * float(max(radius.max(), distance.max()))
    radius, distance = np.maximum(radius, low), np.maximum(distance, low)

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title("smallest change found (L2)", loc="left")
        axes.set_xlabel("proven radius (L2)")
        axes.fill_between([low, high], [low, low], [low, high], color=BROKEN, alpha=0.08, lw=0)
        axes.plot([low, high], [low, high], color=BROKEN, linewidth=1.6)
        groups = (
            (~inside & correct, "o", PROVEN, 5.0),
            (~inside & ~correct, "o", WRONG, 5.0),
            (inside, "X", BROKEN, 8.0),
        )
        for chosen, marker, colour, size in groups:
            axes.plot(
                radius[chosen], distance[chosen], marker, ms=size - narrow, mfc=colour, mec=PAPER,
                mew=0.6, alpha=0.85, ls="",
            )  # fmt: skip
        for each in summary["eps"]:
            if low < each < high:
                axes.axvline(each, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
        axes.text(
            high / 1.06, low * 1.08, "shorter than the radius:\nnothing may lie here",
            ha="right", va="bottom", color=BROKEN, size=11,
        )  # fmt: skip
        _log_ticks(axes, low=low, high=high)

    words = (
        f"{counted(int(found.sum()), 'image')}: every smallest change is longer than the radius."
        if not inside.any()
        else f"{counted(int(inside.sum()), 'change')} shorter than the claimed radius."
    )
    title = "Smallest change against proven radius"
    return drawn(draw, name="sandwich", title=title, description=words, sizes=SIZES)


def tightness_histogram(changes: Changes) -> str:
    """How many images have which share of their smallest change proven."""
    tightness = changes.tightness
    middle = float(np.median(tightness))

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        axes.set_title("images", loc="left")
        axes.set_xlabel("radius as a share of the smallest change")
        bins = np.linspace(0, 1, 21 if narrow else 41)
        axes.hist(np.minimum(tightness, 1), bins=bins.tolist(), color=HELD, edgecolor=PAPER, lw=0.8)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol=" %"))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        top = 1.22 * axes.get_ylim()[1]
        axes.set_ylim(0, top)
        axes.vlines(middle, 0, 0.88 * top, color=INK, linewidth=1.4)
        left = middle > 0.5
        axes.annotate(
            f"median {percent(middle)}", (middle, 0.9 * top), xytext=(-6 if left else 6, 0),
            textcoords="offset points", ha="right" if left else "left", color=INK, size=12,
        )  # fmt: skip

    least, most = float(tightness.min()), float(tightness.max())
    words = f"Shares of {percent_range(least, most)}, with a median of {percent(middle)}."
    title = "Tightness of the certificates"
    return drawn(draw, name="tightness", title=title, description=words, sizes=HISTOGRAM)


def _log_ticks(axes: Axes, *, low: float, high: float) -> None:
    ticks = [tick for tick in TICKS if low <= tick <= high]
    for axis, limit in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        limit(low, high)
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, digits=2)))
