"""Which class is taken for which."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from jaxtl.report.plots.style import INK, fit_names, fit_text, styled, text_width

TRUE_CLASS_BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#cfe3f2", "#6aaed6", "#1c6fb0", "#08306b"])
TICKS = (0, 0.01, 0.05, 0.2, 0.5, 1)
NORM = PowerNorm(0.5, vmin=0, vmax=1)


@styled
def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Confusion matrix, coloured by the share of the true class, with the counts written up to 20 classes.

    Colour follows the square root of the share: an error of a few per cent has to be visible beside a diagonal
    near 100 %.

    Args:
      matrix: int [K, K], counts; rows are true classes, columns predicted ones.
      class_names: K names; written up to 100 classes, beyond that the axes count.

    Raises:
      ValueError: the matrix is not [K, K].
    """
    matrix, share = np.asarray(matrix), _share(matrix, class_names)
    num_classes = len(class_names)
    cell = float(np.clip(8.0 / num_classes, 0.09, 0.62))  # inches
    side = float(np.clip(cell * num_classes, 2.2, 9))
    size = float(np.clip(72 * cell * 0.8, 5, 9))
    named = num_classes <= 100
    names = [fit_text(name, points=110, size=size) for name in class_names] if named else []
    widest = max((text_width(name, size) for name in names), default=20.0)
    flat = not named or widest < 72 * side / num_classes - 6
    under = 10 if flat else widest * (0.75 if num_classes <= 20 else 1)
    # Room for names, axis titles and colour bar, measured: the matrix is about square and nothing is cut.
    figure = Figure(figsize=(side + widest / 72 + 1.4, side + under / 72 + 0.45), layout="constrained")
    axes = figure.subplots()
    image = _draw(axes, share, names, size, flat=flat, aspect="auto")
    axes.set(xlabel="Predicted class", ylabel="True class")
    if num_classes <= 20:
        digits = len(f"{matrix.max():,}")
        texts = [[f"{count:,}" for count in row] for row in matrix]
        _write_cells(axes, share, texts, min(9.5, 72 * cell * 0.85 / (0.64 * digits)))
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=24, pad=0.02, ticks=TICKS)
    _finish_bar(bar)
    return figure


@styled
def confusion_grid(matrices: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Confusion matrices of several runs on one colour scale, as small multiples.

    Up to 12 classes the shares are written, in per cent of the true class: unlike counts they can be compared where
    runs had different numbers of test images. Shares that round to 0 are left blank.

    Args:
      matrices: name of the run -> int [K, K], counts; rows are true classes, columns predicted ones.
      class_names: K names, the same for all; written up to 20 classes.

    Raises:
      ValueError: there is no matrix, or one is not [K, K].
    """
    if not matrices:
        raise ValueError("confusion_grid needs at least one matrix")
    shares = [_share(matrix, class_names) for matrix in matrices.values()]
    num_classes, count = len(class_names), len(matrices)
    columns = 2 if count == 4 else min(count, 3)
    rows = ceil(count / columns)
    size = 8.0 if num_classes <= 12 else 6.0
    names = [fit_text(name, points=70, size=size) for name in class_names] if num_classes <= 20 else []
    widest = max((text_width(name, size) for name in names), default=16.0)
    bar_width, title = 0.95, 0.3  # inches
    side = min((10 - widest / 72 - 0.3 - bar_width) / columns - 0.18, 3.8)
    flat = widest < 72 * side / num_classes - 4
    under = 12 if flat else 0.75 * widest + 6
    left, bottom = widest / 72 + 0.32, under / 72 + 0.27
    width = left + columns * (side + 0.18) + bar_width
    height = rows * (side + title) + bottom
    figure = Figure(figsize=(width, height))
    titles = fit_names(list(matrices), points=72 * side, size=9)
    for i, (name, share) in enumerate(zip(titles, shares, strict=True)):
        row, column = divmod(i, columns)
        x, y = left + column * (side + 0.18), height - (row + 1) * (side + title)
        axes = figure.add_axes((x / width, y / height, side / width, side / height))
        _draw(axes, share, names, size, flat=flat, aspect="equal")
        axes.set_title(name, fontsize=9, fontweight="normal", pad=4)
        below = i + columns >= count
        axes.tick_params(labelleft=column == 0, labelbottom=below)
        axes.set(xlabel="Predicted class" if below else "", ylabel="True class" if column == 0 else "")
        if num_classes <= 12:
            texts = [[f"{100 * cell:.0f}".removeprefix("0") for cell in line] for line in share]
            _write_cells(axes, share, texts, min(8.5, 72 * side / num_classes * 0.42))
    tall = min(side, 2.6)
    place = (width - bar_width + 0.12) / width, (height - title - tall) / height, 0.11 / width, tall / height
    _finish_bar(figure.colorbar(ScalarMappable(NORM, TRUE_CLASS_BLUES), cax=figure.add_axes(place), ticks=TICKS))
    return figure


def _share(matrix: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Counts [K, K] as shares of their row, 0 in a row without counts."""
    matrix, num_classes = np.asarray(matrix), len(class_names)
    if matrix.shape != (num_classes, num_classes):
        raise ValueError(f"{num_classes} class names need a [{num_classes}, {num_classes}] matrix, got {matrix.shape}")
    support = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, support, out=np.zeros(matrix.shape), where=support > 0)


def _draw(
    axes: Axes, share: np.ndarray, names: Sequence[str], size: float, *, flat: bool, aspect: Literal["auto", "equal"]
) -> AxesImage:
    """The coloured cells, with the names of the classes if there are any, and lines between few classes."""
    image = axes.imshow(share, cmap=TRUE_CLASS_BLUES, norm=NORM, interpolation="nearest", aspect=aspect)
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color="#b8c1cb")
    if names:
        axes.set_yticks(range(len(names)), names, fontsize=size)
        if flat:
            axes.set_xticks(range(len(names)), names, fontsize=size)
        elif len(names) <= 20:  # the end of a slanted name, not its middle, belongs under its column
            axes.set_xticks(range(len(names)), names, fontsize=size, rotation=45, ha="right", rotation_mode="anchor")
        else:
            axes.set_xticks(range(len(names)), names, fontsize=size, rotation=90)
        axes.tick_params(length=0, labelcolor=INK)
    if len(share) <= 20:
        # Separating lines, drawn as the minor grid: one between every two cells.
        axes.set_xticks(np.arange(0.5, len(share) - 1), minor=True)
        axes.set_yticks(np.arange(0.5, len(share) - 1), minor=True)
        axes.grid(visible=True, which="minor", color="white", linewidth=1.2)
        axes.tick_params(which="minor", length=0)
    return image


def _write_cells(axes: Axes, share: np.ndarray, texts: Sequence[Sequence[str]], size: float) -> None:
    """A text in every cell, readable on its colour; the diagonal is bold and a cell without examples steps back."""
    for row, column in np.ndindex(share.shape):
        dark = _luminance(TRUE_CLASS_BLUES(NORM(share[row, column]))) < 0.45
        color = "white" if dark else INK if share[row, column] else "#aab4bf"
        weight = "bold" if row == column else "normal"
        axes.text(
            column, row, texts[row][column], ha="center", va="center", color=color, fontsize=size, fontweight=weight
        )


def _finish_bar(bar: Colorbar) -> None:
    bar.ax.set_yticklabels(["0", "1 %", "5 %", "20 %", "50 %", "100 %"], fontsize=8)
    bar.set_label("Share of the true class", fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.grid(visible=False)


def _luminance(color: tuple[float, ...]) -> float:
    red, green, blue = color[:3]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
