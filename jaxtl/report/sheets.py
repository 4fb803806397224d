"""Contact sheets of predictions: pictures in rows, what each was taken for under it, one file a page."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from jaxtl.data.decode import Undecodable
from jaxtl.data.image_files import shown
from jaxtl.report.pictures import rgb
from jaxtl.report.plots.style import FAINT, INK, MUTED, fit_names, fit_text, png, run_color, styled, text_width
from jaxtl.report.text import NOT_MEASURED
from jaxtl.runs.finished import LoadedRun, Predictions
from jaxtl.runtime.environment import cores
from jaxtl.runtime.files import write_whole

PER_PAGE = 48  # pictures: more would make a page that no screen shows at once
PIXELS = 176  # of the longer side of a picture, as many as its place on the page has at 160 dots an inch

_COLUMNS, _LEGEND_COLUMNS = 8, 3
_TILE, _GAP, _MARGIN = 1.1, 0.14, 0.15  # inches
_LINE, _SIZE, _SMALL = 0.18, 7.5, 6.0  # inches a line; points


class Shown(NamedTuple):
    """A picture of the sheet."""

    image: np.ndarray  # uint8 [H, W, C], C = 1 (grey) or 3
    name: str  # of its file
    answers: tuple[tuple[str, float] | None, ...]  # (class, probability) of each run, if it has one


def write_sheets(path: Path, run: LoadedRun, files: Sequence[Path], answers: Mapping[str, Predictions]) -> list[Path]:
    """Draw the images that were classified, ``PER_PAGE`` a page.

    Args:
      path: of the first page; page 2 of ``sheet.png`` is ``sheet-2.png``, and so on.
      run: says how the images are framed: as this run sees them, but with more pixels.
      files: N image files.
      answers: of each run by its name; a file that none of them answers is left out.

    Returns:
      The pages written; none where no file is left.

    Raises:
      OSError: a page cannot be written.
    """
    height, width, _ = run.image_shape
    scale = PIXELS / max(height, width)
    size = max(1, round(scale * height)), max(1, round(scale * width))

    def look(i: int) -> Shown | None:
        try:
            image = run.read(files[i], size)
        except Undecodable:  # it has gone since it was classified
            return None
        return Shown(image, shown(files[i].name), tuple(next(iter(answer[i]), None) for answer in answers.values()))

    answered = [i for i in range(len(files)) if any(answer[i] for answer in answers.values())]
    names, places, pages = [*answers], page_paths(path, len(answered)), []
    with ThreadPoolExecutor(cores()) as pool:
        for number, place in enumerate(places):
            chosen = answered[number * PER_PAGE : (number + 1) * PER_PAGE]
            if pictures := [picture for picture in pool.map(look, chosen) if picture]:
                heading = f"Predicted by {names[0] if len(names) == 1 else f'{len(names)} runs'}"
                heading += f": page {number + 1} of {len(places)}" * (len(places) > 1)
                write_whole(place, png(contact_sheet(pictures, names, heading)))
                pages.append(place)
    return pages


def page_paths(path: Path, images: int) -> list[Path]:
    """The files of the pages for that many images; the first is ``path``."""
    others = [path.with_name(f"{path.stem}-{page}{path.suffix}") for page in range(2, ceil(images / PER_PAGE) + 1)]
    return [path, *others]


@styled
def contact_sheet(pictures: Sequence[Shown], run_names: Sequence[str], heading: str) -> Figure:
    """Pictures with a line for each run: the class and its probability, as a figure and as a bar.

    Args:
      pictures: up to ``PER_PAGE``, at least one.
      run_names: of the runs; several are told apart by colour, with a legend on top.
      heading: of the page.
    """
    columns = min(_COLUMNS, max(len(pictures), 4))
    rows = ceil(len(pictures) / columns)
    cell = _TILE + _LINE * (1.1 + len(run_names)) + _GAP
    wide = 2 * _MARGIN + columns * (_TILE + _GAP) - _GAP
    legend_lines = ceil(len(run_names) / _LEGEND_COLUMNS) if len(run_names) > 1 else 0
    top = 0.38 + 0.19 * legend_lines
    tall = top + rows * cell + _MARGIN / 2
    figure = Figure(figsize=(wide, tall))
    # One pair of axes measured in inches from the upper left corner: dozens of axes would take seconds to lay out.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(tall, 0))
    axes.set_axis_off()
    axes.text(_MARGIN, 0.19, fit_text(heading, points=72 * (wide - 2 * _MARGIN), size=10), va="center", fontsize=10)
    if legend_lines:
        names = fit_names(run_names, points=72 * (wide / _LEGEND_COLUMNS - 0.4), size=8)
        figure.legend(
            handles=[Patch(color=run_color(i), label=name) for i, name in enumerate(names)],
            loc="upper left",
            bbox_to_anchor=(_MARGIN / wide, 1 - 0.34 / tall),
            borderpad=0.0,
            borderaxespad=0.0,
            ncols=_LEGEND_COLUMNS,
            handlelength=0.9,
            handleheight=0.9,
            fontsize=8,
        )
    for i, picture in enumerate(pictures):
        _draw(axes, picture, _MARGIN + i % columns * (_TILE + _GAP), top + i // columns * cell)
    axes.set(xlim=(0, wide), ylim=(tall, 0))  # imshow has moved them
    return figure


def _draw(axes: Axes, picture: Shown, x: float, y: float) -> None:
    height, width = picture.image.shape[:2]
    scale = _TILE / max(height, width)
    left, low = x + (_TILE - scale * width) / 2, y + (_TILE + scale * height) / 2
    interpolation = "nearest" if max(height, width) < PIXELS else "antialiased"
    extent = (left, left + scale * width, low, low - scale * height)
    axes.imshow(rgb(picture.image), extent=extent, interpolation=interpolation, aspect="auto", origin="upper")
    line = y + _TILE + 0.7 * _LINE  # where the letters stand
    axes.text(x, line, fit_text(picture.name, points=72 * _TILE, size=_SMALL), color=MUTED, fontsize=_SMALL)
    for run, answer in enumerate(picture.answers):
        line += _LINE
        name, share = answer or (NOT_MEASURED, 0.0)
        figure = f"{100 * share:.0f} %" if answer else ""
        taken_for = fit_text(name, points=72 * _TILE - text_width(figure, _SIZE) - 5, size=_SIZE)
        axes.text(x, line, taken_for, color=INK, fontsize=_SIZE)
        axes.text(x + _TILE, line, figure, color=MUTED, fontsize=_SIZE, ha="right")
        for part, color in ((1.0, FAINT), (share, run_color(run))):
            axes.add_patch(Rectangle((x, line + 0.04), _TILE * part, 0.022, color=color, linewidth=0))
