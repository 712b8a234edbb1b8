"""The drawings of the page: certified accuracy over ε, the radii, the course of training."""

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
    RULE,
    WRONG,
    drawn,
)
from reports.words import budget, joined, percent

HISTORY_WIDE, HISTORY_NARROW = (880, 280), (352, 440)
STEPS = 400  # corners of a curve: more would not be seen


def accuracy_curve(examples: Examples, summary: dict[str, Any]) -> str:
    """Certified accuracy over ε from the radii themselves, and the attacks' points beside it."""
    eps, clean = summary["eps"], summary["clean_accuracy"]
    radius = np.where(examples.correct, examples.radius, 0.0)
    reach = max(1.12 * eps[-1], float(np.quantile(radius, 0.98)))

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        _percent_axis(axes)
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
        if summary["attacked_examples"]:
            certified, robust = summary["certified_accuracy_attacked"], summary["robust_accuracy"]
            axes.vlines(eps, certified, robust, color=BROKEN, linewidth=1.4, alpha=0.7)
            axes.plot(eps, certified, "o", ms=7, mfc=PROVEN, mec=PAPER, mew=1, zorder=4)
            axes.plot(eps, robust, "D", ms=7, mfc=BROKEN, mec=PAPER, mew=1, zorder=5)

    shares = zip(eps, summary["certified_accuracy"], strict=True)
    at_eps = joined([f"{percent(share)} at ε {budget(each)}" for each, share in shares])
    words = f"Starts at {percent(clean)} without a change and falls to {at_eps}."
    if summary["attacked_examples"]:
        shares = zip(eps, summary["robust_accuracy"], strict=True)
        under = joined([f"{percent(share)} at ε {budget(each)}" for each, share in shares])
        words += f" Under attack, of the attacked images, {under} stay right."
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
        axes.set_ylim(0, 1.2 * top)
        upper, before = False, -reach
        for each in summary["eps"]:
            upper = each - before < (0.15 if narrow else 0.08) * reach and not upper
            before, height = each, top * (1.12 if upper else 1.04)
            axes.vlines(each, 0, height, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
            axes.text(each, height, budget(each), ha="center", va="bottom", color=MUTED, size=11)

    middle = float(np.median(right)) if len(right) else 0.0
    words = (
        f"{len(right)} images are classified right, with a median radius of {middle:.3g}; "
        f"{len(wrong)} are classified wrong."
    )
    return drawn(draw, name="radii", title="Histogram of the proven radii", description=words)


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
            _percent_axis(accuracy)
            accuracy.set_title("validation images: clean, and certified (estimated)", loc="left")
            clean = [(each["epoch"] - first, each["clean_accuracy"]) for each in measured]
            lines = [("clean", clean, INK)]
            for place, each in enumerate(eps):
                points = [(epoch, found[place]) for epoch, found in estimates]
                if points:
                    lines.append((f"ε {budget(each)}", points, PROVEN))
            for _, points, colour in lines:
                _line(accuracy, points, color=colour)
            _label_ends(accuracy, lines, apart=0.09)
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
        sizes=(HISTORY_WIDE, HISTORY_NARROW),
    )


def _survival(radius: np.ndarray, *, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the share of `radius` above ε; every corner is exact, some are left out."""
    corners = np.unique(radius[(radius > 0) & (radius < reach)])
    if len(corners) > STEPS:
        corners = corners[np.linspace(0, len(corners) - 1, STEPS).round().astype(int)]
    x = np.concatenate([[0.0], corners, [reach]])
    above = len(radius) - np.searchsorted(np.sort(radius), x, side="right")
    return x, above / len(radius)


def _percent_axis(axes: Axes) -> None:
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol=" %"))


def _estimates(metrics: dict[str, Any]) -> Sequence[float]:
    for key in ("certified_accuracy", "estimated_certified_accuracy"):
        if metrics.get(key):
            return list(metrics[key])
    return []


def _line(axes: Axes, points: Sequence[tuple[int, float]], *, color: str) -> None:
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=color, linewidth=1.8, marker="o" if len(points) < 3 else "", ms=5)


def _label_ends(axes: Axes, lines: Sequence[tuple[str, Any, str]], *, apart: float) -> None:
    """Name each line at its right end, names pushed apart where they would touch."""
    floor = -1.0
    for name, points, colour in sorted(lines, key=lambda line: line[1][-1][1]):
        height = max(points[-1][1], floor + apart)
        floor = height
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
