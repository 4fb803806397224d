"""Which class is taken for which."""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from jaxtl.report.plots.style import EDGE, INK, PAPER, fit_names, styled, text_width

# From nothing to blue: where nothing is, the page shows through.
BLUES = LinearSegmentedColormap.from_list("blues", ["#4a9bd400", "#2b83c2a0", "#0d5ca8f0", "#08519cff"])
TICKS = {0: "0", 0.01: "1 %", 0.05: "5 %", 0.2: "20 %", 0.5: "50 %", 1: "100 %"}
WRITTEN, NAMED = 20, 100  # up to so many classes the shares are written, and the classes named


@styled
def confusion_matrices(matrices: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Confusion matrices of one or several runs on one colour scale, in per cent of the true class.

    Colour follows the square root of the share: an error of a few per cent has to be visible beside a diagonal near
    100 %. Unlike counts, shares can be compared between classes, and between runs with other numbers of test images.
    They are written up to 20 classes (of several runs up to 12); those that round to 0 are left blank.

    Args:
      matrices: name of the run -> int [K, K], counts; rows are true classes, columns predicted ones.
      class_names: K names, the same for all; written up to 100 classes (of several runs up to 20).

    Raises:
      ValueError: there is no matrix, or one is not [K, K].
    """
    if not matrices:
        raise ValueError("confusion_matrices needs at least one matrix")
    shares = [_share(matrix, class_names) for matrix in matrices.values()]
    count, classes = len(matrices), len(class_names)
    columns = 2 if count == 4 else min(count, 3)
    rows = ceil(count / columns)
    side = float(np.clip(0.62 * classes, 2.2, 7.5)) if count == 1 else min(8.0 / columns, 3.6)  # inches
    cell = 72 * side / classes
    size = float(np.clip(0.8 * cell, 5, 9 if count == 1 else 7.5))
    named = classes <= (NAMED if count == 1 else WRITTEN)
    names = fit_names(class_names, points=140 if count == 1 else 64, size=size) if named else []
    widest = max((text_width(name, size) for name in names), default=16.0)
    slant = 0 if not names or widest < cell - 4 else 45 if classes <= WRITTEN else 90
    under = 12 if not slant else 0.75 * widest if slant == 45 else widest
    width, height = columns * (side + 0.2) + widest / 72 + 1.5, rows * (side + 0.35) + under / 72 + 0.4
    figure = Figure(figsize=(width, height), layout="compressed")
    places = figure.subplots(rows, columns, squeeze=False).flat
    panels = list(places)[:count]
    for axes in list(places)[count:]:
        axes.remove()
    titles = fit_names(list(matrices), points=72 * side, size=9)
    for i, axes in enumerate(panels):
        image = axes.imshow(shares[i], cmap=BLUES, norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest")
        _name_classes(axes, names, size, slant)
        lowest, first = i + columns >= count, i % columns == 0
        axes.tick_params(labelbottom=lowest, labelleft=first)
        axes.set(xlabel="Predicted class" if lowest else "", ylabel="True class" if first else "")
        if count > 1:
            axes.set_title(titles[i], fontsize=9, fontweight="normal", pad=4)
        if classes <= (WRITTEN if count == 1 else 12):
            _write_shares(axes, shares[i], min(9.5, 0.42 * cell))
    bar = figure.colorbar(image, ax=panels, shrink=min(1.0, 0.7 * 1.2 / rows), aspect=24, pad=0.02, ticks=list(TICKS))
    bar.ax.set_yticklabels(TICKS.values(), fontsize=8)
    bar.set_label("Share of the true class", fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.grid(visible=False)
    return figure


def _share(matrix: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Counts [K, K] as shares of their row, 0 in a row without counts."""
    matrix, classes = np.asarray(matrix), len(class_names)
    if matrix.shape != (classes, classes):
        raise ValueError(f"{classes} class names need a [{classes}, {classes}] matrix, got {matrix.shape}")
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)


def _name_classes(axes: Axes, names: Sequence[str], size: float, slant: int) -> None:
    """Names at both axes if there are any, and lines between few classes."""
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=EDGE)
    if names:
        axes.set_yticks(range(len(names)), names, fontsize=size)
        # The end of a slanted name, not its middle, belongs under its column.
        turned = {"rotation": slant, "ha": "right", "rotation_mode": "anchor"} if slant == 45 else {"rotation": slant}
        axes.set_xticks(range(len(names)), names, fontsize=size, **turned)
        axes.tick_params(length=0, labelcolor=INK)
    if 0 < len(names) <= WRITTEN:  # separating lines, drawn as the minor grid: one between every two cells
        between = np.arange(0.5, len(names) - 1)
        axes.set_xticks(between, minor=True)
        axes.set_yticks(between, minor=True)
        axes.grid(visible=True, which="minor", color=PAPER, linewidth=1.2)
        axes.tick_params(which="minor", length=0)


def _write_shares(axes: Axes, share: np.ndarray, size: float) -> None:
    """A share in every cell, readable on its colour; the diagonal is bold."""
    for row, column in np.argwhere(share > 0.005):
        text = axes.text(column, row, f"{100 * share[row, column]:.0f}", ha="center", va="center", fontsize=size)
        text.set(color="#ffffff" if share[row, column] > 0.2 else INK, fontweight="bold" if row == column else "normal")
