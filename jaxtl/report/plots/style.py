"""What all figures share: colours, letters, and how a figure becomes a file."""

import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font_names
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FuncFormatter

# Okabe and Ito's palette (jfly.uni-koeln.de/color), which colour-blind readers can tell apart, without its yellow.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = "osD^vP"
INK, MUTED, FAINT = "#1f2933", "#66717e", "#e4e8ed"
RIGHT, WRONG = "#00734f", "#c2361b"  # darker green and red than the palette's: they colour small letters

# The first is shipped with matplotlib: the same letters on every machine. The others have the letters of other scripts,
# for names of classes and files; which of them a system has differs.
_OTHER_SCRIPTS = (
    *(
        "Noto Sans CJK JP",
        "Noto Sans CJK SC",
        "Noto Sans",
        "Noto Sans Arabic",
        "Noto Sans Devanagari",
        "Noto Sans Thai",
    ),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo"),
    *("Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS"),
)
FONTS = ["DejaVu Sans", *(name for name in _OTHER_SCRIPTS if name in get_font_names())]

# Letters that none of them has become boxes in the picture, and the text beside it has them: no news for the screen.
warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)

STYLE: dict[Any, Any] = {
    "font.family": FONTS,
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#b8c1cb",
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
    "xtick.color": "#b8c1cb",
    "ytick.color": "#b8c1cb",
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.8,
    "lines.markersize": 3.5,
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "text.parse_math": False,  # a class may be called "$": that is a name, not a formula
}
styled = matplotlib.rc_context(STYLE)  # as a decorator: the style holds inside one call only


@styled
def png(figure: Figure, dpi: int = 160) -> bytes:
    """Draw a figure as a PNG file; the same figure gives the same bytes (no date, no version inside)."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def run_color(i: int) -> str:
    """Colour of the i-th run, from 0, in every chart that shows several."""
    return PALETTE[i % len(PALETTE)]


def run_marker(i: int) -> str:
    """Shape of its points: after one round of colours the shapes tell the runs apart."""
    return MARKERS[i // len(PALETTE) % len(MARKERS)]


def percent_ticks() -> FuncFormatter:
    """Ticks in per cent with as many decimals as they need."""
    return FuncFormatter(lambda value, _: f"{round(100 * value, 6):g} %")


def text_width(text: str, size: float) -> float:
    """Width of a text in points, at a font size in points, in the house font."""
    font = FontProperties(family=STYLE["font.family"], size=size)
    return TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]


def fit_text(name: str, *, points: float, size: float) -> str:
    """The name on one line, cut with an ellipsis where it is wider than ``points``."""
    name = " ".join(str(name).split())
    if text_width(name, size) <= points:
        return name
    while name and text_width(name + "…", size) > points:
        name = name[:-1].rstrip()
    return name + "…"


def fit_names(names: Sequence[str], *, points: float, size: float) -> list[str]:
    """Names that stay apart when they are cut: those that begin alike keep their ends, and if need be get a number."""
    whole = [" ".join(str(name).split()) for name in names]
    short = [fit_text(name, points=points, size=size) for name in whole]
    for i, (name, cut) in enumerate(zip(whole, short, strict=True)):
        others = whole[:i] + whole[i + 1 :]
        if cut != name and any(other.startswith(cut.removesuffix("…")) for other in others):
            short[i] = _without_middle(name, points, size)
    alike = {cut for cut in short if short.count(cut) > 1}
    return [
        fit_text(f"{i}: {name}", points=points, size=size) if cut in alike else cut
        for i, (name, cut) in enumerate(zip(whole, short, strict=True), start=1)
    ]


def _without_middle(name: str, points: float, size: float) -> str:
    head, tail = name[: len(name) // 2], name[len(name) // 2 :]
    while text_width(f"{head}…{tail}", size) > points and (head or tail):
        head, tail = (head[:-1], tail) if len(head) >= len(tail) else (head, tail[1:])
    return f"{head.rstrip()}…{tail.lstrip()}"
