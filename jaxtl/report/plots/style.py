"""What all figures share: colours, letters, and how a figure becomes a file."""

import re
import warnings
from collections.abc import Sequence
from io import BytesIO, StringIO
from typing import Any

import matplotlib
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font_names
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FuncFormatter, MaxNLocator

# Okabe and Ito's palette (jfly.uni-koeln.de/color), which colour-blind readers can tell apart, without its yellow.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = "osD^vP"
# On a page these are the page's own colours, so that a chart is dark where the page is. None of them is used for data.
INK, MUTED, FAINT, EDGE, PAPER = "#1f2933", "#66717e", "#e4e8ed", "#b8c1cb", "#fefefe"
ON_PAGE = {INK: "--ink", MUTED: "--muted", FAINT: "--line", EDGE: "--edge", PAPER: "--card"}

# The first comes with matplotlib, so letters are the same on every machine; the others have letters of more scripts.
FONTS = ["DejaVu Sans", *sorted(name for name in get_font_names() if re.search("CJK|Unicode|Zen Hei", name))]
# Letters that none of them has become boxes in the picture, and the table beside it has them: no news for the screen.
warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)

STYLE: dict[Any, Any] = {
    "font.family": FONTS,
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": EDGE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": EDGE,
    "ytick.color": EDGE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.8,
    "lines.markersize": 3.5,
    "legend.facecolor": PAPER,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "axes.facecolor": "none",
    "text.parse_math": False,  # a class may be called "$": that is a name, not a formula
    "svg.hashsalt": "jaxtl",  # the same figure gives the same file
}
styled = matplotlib.rc_context(STYLE)  # as a decorator: the style holds inside one call only


@styled
def png(figure: Figure, dpi: int = 160) -> bytes:
    """Draw a figure as a PNG file; the same figure gives the same bytes (no date, no version inside)."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


@styled
def svg(figure: Figure) -> str:
    """Draw a figure as an ``<svg>`` element to be put into a page, in the colours of the page (see ``base.html``)."""
    buffer = StringIO()
    figure.savefig(buffer, format="svg", dpi=160, facecolor="none", metadata={"Date": None, "Creator": None})
    element = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    element = re.sub(r' xmlns(:\w+)?="[^"]*"', "", element[element.index("<svg") :])
    element = re.sub(r'<g id="[^"]*">', "<g>", element)  # nothing refers to these, and charts share a page
    return re.sub("|".join(ON_PAGE), lambda found: f"var({ON_PAGE[found[0]]})", element)


def run_color(i: int) -> str:
    """Colour of the i-th run, from 0, in every chart that shows several."""
    return PALETTE[i % len(PALETTE)]


def run_marker(i: int) -> str:
    """Shape of its points: after one round of colours the shapes tell the runs apart."""
    return MARKERS[i // len(PALETTE) % len(MARKERS)]


def percent_axis(axis: Axis) -> None:
    """Ticks in per cent with as many decimals as they need."""
    axis.set_major_locator(MaxNLocator(8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g} %"))


def text_width(text: str, size: float) -> float:
    """Width of a text in points, at a font size in points, in the font of the figures."""
    font = FontProperties(family=STYLE["font.family"], size=size)
    return TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]


def fit_text(name: str, *, points: float, size: float) -> str:
    """The name on one line; what is wider than ``points`` loses its middle, since names often differ at their ends."""
    name = " ".join(str(name).split())
    if text_width(name, size) <= points:
        return name
    head, tail = name[: len(name) // 2], name[len(name) // 2 :]
    while (head or tail) and text_width(f"{head}…{tail}", size) > points:
        head, tail = (head[:-1], tail) if len(head) >= len(tail) else (head, tail[1:])
    return f"{head.rstrip()}…{tail.lstrip()}"


def fit_names(names: Sequence[str], *, points: float, size: float) -> list[str]:
    """Names cut to fit; those that are alike afterwards get a number."""
    short = [fit_text(name, points=points, size=size) for name in names]
    return [
        fit_text(f"{i}: {name}", points=points, size=size) if short.count(cut) > 1 else cut
        for i, (name, cut) in enumerate(zip(names, short, strict=True), start=1)
    ]
