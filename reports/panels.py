"""Panels of a study as one drawing: lines, points with error bars, and level sets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.svg import BROKEN, HELD, INK, MUTED, PAPER, PROVEN, PROVEN_FLOAT32, RULE, WRONG, drawn

TONES = (PROVEN, BROKEN, INK, MUTED, PROVEN_FLOAT32, WRONG)
HEIGHT_WIDE, HEIGHT_NARROW = 380, 340  # of a row of panels, and of one panel; CSS pixels
SQUARE = 620  # of level sets


def panels_plot(panels: Sequence[dict[str, Any]], *, name: str, description: str) -> str:
    """Panels side by side on a desk, one above another on a phone.

    Args:
        panels: as `models.studies.finding.Panel` is stored.
        name: prefix of the drawing's ids.
        description: what can be seen, in words.
    """
    square = any(panel["levels"] for panel in panels)
    sizes = (
        (880, SQUARE if square else HEIGHT_WIDE),
        (352, HEIGHT_NARROW * len(panels)),
    )

    def draw(figure: Figure, narrow: bool) -> None:
        grid = (len(panels), 1) if narrow else (1, len(panels))
        for place, panel in enumerate(panels, start=1):
            _draw_panel(figure.add_subplot(*grid, place), panel)

    title = "; ".join(panel["title"] for panel in panels)
    return drawn(draw, name=name, title=title, description=description, sizes=sizes)


def _draw_panel(axes: Axes, panel: dict[str, Any]) -> None:
    axes.set_title(panel["title"], loc="left")
    axes.set_xlabel(panel["x_label"])
    if panel["log_x"]:
        axes.set_xscale("log")
    if panel["log_y"]:
        axes.set_yscale("log")
    if panel["levels"]:
        _draw_levels(axes, panel["levels"])
    for series in panel["series"]:
        _draw_series(axes, series)
    axes.minorticks_off()
    axes.spines["bottom"].set_color(RULE)
    if any(series["name"] for series in panel["series"]):
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            frameon=False,
            labelcolor=MUTED,
            fontsize=11,
            ncols=1,
        )


def _draw_series(axes: Axes, series: dict[str, Any]) -> None:
    colour, label = TONES[series["tone"]], series["name"] or None
    style: dict[str, Any] = {"color": colour, "label": label}
    if series["kind"] == "dots":
        style |= {"linestyle": "", "marker": "o", "markersize": 8, "markeredgecolor": PAPER}
    else:
        style |= {"linestyle": "--" if series["kind"] == "dashed" else "-", "linewidth": 1.8}
    if series["spread"]:
        axes.errorbar(
            series["x"],
            series["y"],
            yerr=series["spread"],
            **style | {"marker": "o", "markersize": 5, "elinewidth": 1.2, "capsize": 2},
        )
    else:
        axes.plot(series["x"], series["y"], **style)


def _draw_levels(axes: Axes, levels: dict[str, Any]) -> None:
    """The side above 0 filled, a line at each level, a heavier one at 0."""
    values = np.array(levels["values"], dtype=np.float64)
    left, right, low, high = levels["sides"]
    x, y = np.linspace(left, right, values.shape[1]), np.linspace(low, high, values.shape[0])
    top = max(float(values.max()), 0.0) + 1.0
    axes.contourf(x, y, values, levels=[0, top], colors=[HELD], alpha=0.5)
    others = [each for each in levels["at"] if each != 0]
    axes.contour(x, y, values, levels=others, colors=[PROVEN_FLOAT32], linewidths=0.7)
    axes.contour(x, y, values, levels=[0], colors=[INK], linewidths=1.4)
    axes.set_aspect("equal")
    axes.grid(visible=False)
