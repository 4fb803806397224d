"""A contact sheet: pictures in rows, what each was taken for under it."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxtl.report.pictures import rgb
from jaxtl.report.plots.style import FAINT, INK, MUTED, fit_text, run_color, styled, text_width

PER_PAGE = 48  # pictures: more would make a page that no screen shows at once
PIXELS = 176  # of the longer side of a picture, as many as its place on the page has at 160 dots an inch

_COLUMNS = 8
_TILE, _GAP, _MARGIN = 1.1, 0.14, 0.15  # inches
_LINE, _SIZE, _SMALL = 0.18, 7.5, 6.0  # inches a line; points


class Shown(NamedTuple):
    """A picture of the sheet.

    Attributes:
      image: uint8 ``[H, W, C]``, C = 1 (grey) or 3.
      name: of its file.
      answers: (class, probability) of each run; ``None`` where it has none.
    """

    image: np.ndarray
    name: str
    answers: tuple[tuple[str, float] | None, ...]


@styled
def contact_sheet(shown: Sequence[Shown], run_names: Sequence[str], heading: str) -> Figure:
    """Pictures with a line for each run: the class and its probability, as a figure and as a bar.

    Args:
      shown: up to ``PER_PAGE`` pictures, at least one.
      run_names: of the runs; several are told apart by colour, with a legend on top.
      heading: of the page.
    """
    columns = min(_COLUMNS, max(len(shown), 4))
    rows = ceil(len(shown) / columns)
    cell = _TILE + _LINE * (1.1 + len(run_names)) + _GAP
    wide = 2 * _MARGIN + columns * (_TILE + _GAP) - _GAP
    legend = _legend_lines(run_names, wide - 2 * _MARGIN) if len(run_names) > 1 else []
    top = 0.38 + 0.19 * len(legend)
    tall = top + rows * cell + _MARGIN / 2
    figure = Figure(figsize=(wide, tall))
    # One pair of axes measured in inches from the upper left corner: dozens of axes would take seconds to lay out.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(tall, 0))
    axes.set_axis_off()
    axes.text(_MARGIN, 0.19, fit_text(heading, points=72 * (wide - 2 * _MARGIN), size=10), va="center", fontsize=10)
    for line, entries in enumerate(legend):
        for x, i, name in entries:
            y = 0.42 + 0.19 * line
            axes.add_patch(Rectangle((_MARGIN + x, y - 0.045), 0.09, 0.09, color=run_color(i), linewidth=0))
            axes.text(_MARGIN + x + 0.14, y, name, va="center_baseline", fontsize=8)
    for i, picture in enumerate(shown):
        x = _MARGIN + i % columns * (_TILE + _GAP)
        _draw(axes, picture, x, top + i // columns * cell)
    return figure


def _draw(axes, picture: Shown, x: float, y: float) -> None:  # type: ignore[no-untyped-def]
    height, width = picture.image.shape[:2]
    scale = _TILE / max(height, width)
    left, low = x + (_TILE - scale * width) / 2, y + (_TILE + scale * height) / 2
    interpolation = "nearest" if max(height, width) < PIXELS else "antialiased"
    extent = (left, left + scale * width, low, low - scale * height)
    axes.imshow(rgb(picture.image), extent=extent, interpolation=interpolation, aspect="auto", origin="upper")
    axes.set(
        xlim=(0, axes.get_figure().get_figwidth()), ylim=(axes.get_figure().get_figheight(), 0)
    )  # imshow moves them
    line = y + _TILE + 0.7 * _LINE  # where the letters stand
    name = fit_text(picture.name, points=72 * _TILE, size=_SMALL)
    axes.text(x, line, name, color=MUTED, fontsize=_SMALL, va="baseline")
    for run, answer in enumerate(picture.answers):
        line += _LINE
        share = f"{100 * answer[1]:.0f} %" if answer else ""
        room = 72 * _TILE - text_width(share, _SIZE) - 5
        taken_for = fit_text(answer[0], points=room, size=_SIZE) if answer else "—"
        axes.text(x, line, taken_for, color=INK, fontsize=_SIZE, va="baseline")
        axes.text(x + _TILE, line, share, color=MUTED, fontsize=_SIZE, va="baseline", ha="right")
        for part, color in ((1.0, FAINT), (answer[1] if answer else 0.0, run_color(run))):
            axes.add_patch(Rectangle((x, line + 0.04), _TILE * part, 0.022, color=color, linewidth=0))


def _legend_lines(names: Sequence[str], wide: float) -> list[list[tuple[float, int, str]]]:
    """Lines of (place in inches, run, name), none wider than the page."""
    lines: list[list[tuple[float, int, str]]] = [[]]
    x = 0.0
    for i, name in enumerate(names):
        name = fit_text(name, points=72 * (wide - 0.14), size=8)
        needs = 0.14 + text_width(name, 8) / 72
        if lines[-1] and x + needs > wide:
            lines.append([])
            x = 0.0
        lines[-1].append((x, i, name))
        x += needs + 0.2
    return lines
