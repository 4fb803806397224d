"""Pictures in cells, placed by hand: a layout engine would take longer over them than everything else."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxtl.report.plots.style import fit_text, text_width

LETTERS = 8.0  # points


def cells(
    corners: Sequence[tuple[float, float]], *, side: float, foot: float = 0.0, least_width: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure just large enough for square cells.

    Args:
      corners: (x, y) of each cell's upper left corner, in inches to the right and down.
      side: of a cell, in inches.
      foot: room below the lowest cell, in inches.
      least_width: of the figure, in inches.

    Returns:
      The figure and the axes of each cell.
    """
    margin = 0.04  # for the frames, which are drawn half outside
    width = max(max(x for x, _ in corners) + side + 2 * margin, least_width)
    height = max(y for _, y in corners) + side + foot + 2 * margin
    figure = Figure(figsize=(width, height))
    return figure, [
        figure.add_axes(
            ((x + margin) / width, (height - y - side - margin) / height, side / width, side / height),
            xticks=[],
            yticks=[],
        )
        for x, y in corners
    ]


def frame(axes: Axes, picture: np.ndarray, *, interpolation: str, color: str, title: str) -> None:
    """Show a picture, ``[H, W, 3]``, in a frame of a colour, its title in the same colour."""
    axes.imshow(picture, interpolation=interpolation)
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=color, linewidth=2)
    axes.set_title(title, loc="center", color=color, fontsize=LETTERS, fontweight="normal", linespacing=1.35, pad=6)


def class_line(what: str, name: str, certainty: float | None = None, *, side: float) -> str:
    """ "True: daisy (0.3 %)", the name cut so that the line is no wider than a cell of ``side`` inches."""
    end = "" if certainty is None else f" ({_percent(certainty)})"
    return f"{what}{fit_text(name, points=72 * side - 4 - text_width(what + end, LETTERS), size=LETTERS)}{end}"


def _percent(share: float) -> str:
    """Small shares keep a digit: they are what tells a large loss from a larger one."""
    if share >= 0.01 or share == 0:
        return f"{100 * share:.0f} %"
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
