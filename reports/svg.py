"""A matplotlib figure as SVG that belongs to the page around it.

Same figure, same bytes.  Colours become variables of the page's style sheet, so that one drawing
serves the light and the dark page; letters stay letters, in the page's own typeface; and the ids
of two drawings never meet.
"""

import io
import re
from collections.abc import Callable, Mapping
from html import escape
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Stand-ins: no figure uses these colours for anything else, and each ends up as a variable.
INK, MUTED, RULE = "#010101", "#020202", "#030303"
PROVEN, PROVEN_FLOAT32 = "#040404", "#050505"
HELD, BROKEN, WRONG, PAPER = "#060606", "#070707", "#080808", "#090909"
VARIABLES = MappingProxyType(
    {
        INK: "--ink",
        MUTED: "--muted",
        RULE: "--rule",
        PROVEN: "--proven",
        PROVEN_FLOAT32: "--proven-float32",
        HELD: "--held",
        BROKEN: "--broken",
        WRONG: "--wrong",
        PAPER: "--paper",
    }
)
WIDE, NARROW = (880, 380), (352, 300)  # CSS pixels
STYLE: Mapping[str, Any] = MappingProxyType(
    {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: measures alike everywhere
        "font.size": 12,
        "text.color": INK,
        "axes.edgecolor": RULE,
        "axes.linewidth": 1,
        "axes.labelcolor": MUTED,
        "axes.labelsize": 12,
        "axes.titlesize": 12,
        "axes.titlecolor": MUTED,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.spines.left": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
        "grid.color": RULE,
        "grid.linewidth": 1,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "xtick.labelsize": 12,
        "ytick.labelsize": 12,
        "ytick.major.size": 0,
        "xtick.major.size": 4,
        "lines.solid_capstyle": "round",
        "figure.facecolor": "none",
        "path.simplify": True,
        "svg.fonttype": "none",
        "svg.image_inline": True,
    }
)


def drawn(
    draw: Callable[[Figure, bool], None],
    *,
    name: str,
    title: str,
    description: str,
    sizes: tuple[tuple[int, int], tuple[int, int]] = (WIDE, NARROW),
) -> str:
    """A drawing, wide and narrow: one cannot be read both on a desk and on a phone.

    Args:
        draw: draws on a figure, and is told whether it is the narrow one.
        name: prefix of its ids, one a page.
        title: its name, read aloud in place of the drawing.
        description: what can be seen in it, in words.
        sizes: of the wide and the narrow one, in CSS pixels; the style sheet shows one of them.
    """
    parts = []
    for kind, (width, height) in zip(("wide", "narrow"), sizes, strict=True):
        with mpl.rc_context(dict(STYLE)):
            figure = empty_figure(width=width, height=height)
            draw(figure, kind == "narrow")
        drawing = svg_text(figure, name=f"{name}-{kind}", title=title, description=description)
        parts.append(f'<div class="{kind}">{drawing}</div>')
    return "".join(parts)


def empty_figure(*, width: int, height: int) -> Figure:
    """A transparent figure of so many CSS pixels; draw on it inside `rc_context(STYLE)`."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.04, hspace=0.04)
    figure = Figure(figsize=(width / 72, height / 72), layout=layout)
    figure.patch.set_visible(False)
    return figure


def svg_text(figure: Figure, *, name: str, title: str, description: str) -> str:
    """The figure as an `<svg>` element.

    Args:
        figure: drawn with the stand-in colours of this file.
        name: prefix of its ids, one a page.
        title: its name, read aloud in place of the drawing.
        description: what can be seen in it, in words.
    """
    file = io.BytesIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(file, metadata=nothing)
    text = file.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    text = re.sub(r"font: (\d+(?:\.\d+)?px) [^;\"]*", r"font-size: \1", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = _with_own_ids(text, prefix=name)
    view = re.search(r'viewBox="[^"]*"', text)
    body = text[text.index(">") + 1 :].strip()
    head = (
        f'<svg class="plot" {view.group() if view else ""} role="img" '
        f'aria-labelledby="{name}-title {name}-desc" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>'
    )
    return head + body


def _with_own_ids(text: str, *, prefix: str) -> str:
    """Drop ids that nothing refers to, and prefix the others and what refers to them."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))

    def own(match: re.Match[str]) -> str:
        return f' id="{prefix}-{match.group(1)}"' if match.group(1) in used else ""

    text = re.sub(r' id="([^"]+)"', own, text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    return re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
