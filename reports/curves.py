"""The drawings of the page: certified accuracy over ε, the radii."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from reports.rows import Examples
from reports.svg import (
    BROKEN,
    INK,
    MUTED,
    PAPER,
    PROVEN,
    PROVEN_FLOAT32,
    WRONG,
    drawn,
)
from reports.words import budget, joined, percent

DOTTED = (0, (1, 1.6))
STEPS = 400  # corners of a curve: more would not be seen


def accuracy_curve(examples: Examples, summary: dict[str, Any], *, attacked: np.ndarray) -> str:
    """Certified accuracy over ε from the radii themselves, and the attacks' points beside it.

    Where not all images were attacked, those that were have a curve of their own: their points lie
    on it or above, and may lie below the curve of all.

    Args:
        examples: the table of certificates.
        summary: the figures of the run.
        attacked: rows that were attacked at every ε, perhaps none.
    """
    eps, clean = summary["eps"], summary["clean_accuracy"]
    radius = np.where(examples.correct, examples.radius, 0.0)
    reach = max(1.12 * eps[-1], float(np.quantile(radius, 0.98)))

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        percent_axis(axes)
        axes.set_title("share of the test images", loc="left")
        axes.set_xlabel("ε (L2)" if narrow else "ε: length of the change (L2, a pixel runs 0 to 1)")
        axes.set_xlim(0, reach)
        if summary["certified_accuracy_float32"] is not None:
            float32 = np.where(examples.correct, examples.radius_float32, 0.0)
            x, y = _survival(np.nan_to_num(float32), reach=reach)
            axes.step(x, y, where="post", color=PROVEN_FLOAT32, linewidth=1.5, linestyle="--")
        x, y = _survival(radius, reach=reach)
        axes.fill_between(x, y, step="post", color=PROVEN, alpha=0.09, linewidth=0)
        axes.step(x, y, where="post", color=PROVEN, linewidth=2.2)
        axes.plot([0], [clean], "o", ms=8, mfc=PAPER, mec=INK, mew=1.8, clip_on=False, zorder=5)
        if len(attacked):
            if len(attacked) < len(examples):
                x, y = _survival(radius[attacked], reach=reach)
                axes.step(x, y, where="post", color=PROVEN, linewidth=1.4, linestyle=DOTTED)
            certified, robust = summary["certified_accuracy_attacked"], summary["robust_accuracy"]
            axes.vlines(eps, certified, robust, color=BROKEN, linewidth=1.4, alpha=0.7)
            axes.plot(eps, certified, "o", ms=12, mfc=PROVEN, mec=PAPER, mew=1, zorder=4)
            axes.plot(eps, robust, "D", ms=5.5, mfc=BROKEN, mec=PAPER, mew=1, zorder=5)

    shares = zip(eps, summary["certified_accuracy"], strict=True)
    at_eps = joined([f"{percent(share)} at ε {budget(each)}" for each, share in shares])
    words = f"Starts at {percent(clean)} without a change and falls to {at_eps}."
    if len(attacked):
        columns = (eps, summary["certified_accuracy_attacked"], summary["robust_accuracy"])
        under = joined(
            [
                f"{percent(proven)} are proven and {percent(robust)} stay right under attack at "
                f"ε {budget(each)}"
                for each, proven, robust in zip(*columns, strict=True)
            ]
        )
        words += f" Of the attacked images {under}."
    return drawn(draw, name="curve", title="Certified accuracy over ε", description=words)


def radius_histogram(examples: Examples, summary: dict[str, Any]) -> str:
    """How many images have which radius, right and wrong predictions apart."""
    right, wrong = examples.radius[examples.correct], examples.radius[~examples.correct]
    reach = max(float(examples.radius.max()), summary["eps"][-1]) or 1.0

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        axes.set_title("images", loc="left")
        axes.set_xlabel("proven radius (L2)")
        bins = np.linspace(0, reach, 21 if narrow else 37).tolist()
        axes.hist(
            [right, wrong], bins=bins, stacked=True, color=[PROVEN, WRONG], edgecolor=PAPER, lw=0.8
        )
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_xlim(0, reach)
        top = axes.get_ylim()[1]
        levels = free_levels(summary["eps"], apart=(0.15 if narrow else 0.08) * reach)
        axes.set_ylim(0, (1.12 + 0.08 * max(levels)) * top)
        for each, level in zip(summary["eps"], levels, strict=True):
            height = (1.04 + 0.08 * level) * top
            axes.vlines(each, 0, height, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
            axes.text(each, height, budget(each), ha="center", va="bottom", color=MUTED, size=11)

    middle = float(np.median(right)) if len(right) else 0.0
    words = (
        f"{len(right)} images are classified right, with a median radius of {middle:.3g}; "
        f"{len(wrong)} are classified wrong."
    )
    return drawn(draw, name="radii", title="Histogram of the proven radii", description=words)


def free_levels(places: Sequence[float], *, apart: float) -> list[int]:
    """For names at rising places the lowest level, from 0, on which each touches no other."""
    found: list[int] = []
    last: list[float] = []  # place of the last name of each level
    for place in places:
        free = (level for level, before in enumerate(last) if place - before >= apart)
        found.append(next(free, len(last)))
        last[found[-1] : found[-1] + 1] = [place]
    return found


def _survival(radius: np.ndarray, *, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the share of `radius` above ε; every corner is exact, some are left out."""
    corners = np.unique(radius[(radius > 0) & (radius < reach)])
    if len(corners) > STEPS:
        corners = corners[np.linspace(0, len(corners) - 1, STEPS).round().astype(int)]
    x = np.concatenate([[0.0], corners, [reach]])
    above = len(radius) - np.searchsorted(np.sort(radius), x, side="right")
    return x, above / len(radius)


def percent_axis(axes: Axes) -> None:
    """Shares from 0 to all, read as percentages."""
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol=" %"))
