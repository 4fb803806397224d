"""Which class is taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from jaxtl.report.plots.style import INK, fit_text, styled, text_width

TRUE_CLASS_BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#cfe3f2", "#6aaed6", "#1c6fb0", "#08306b"])


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
    matrix = np.asarray(matrix)
    num_classes = len(class_names)
    if matrix.shape != (num_classes, num_classes):
        raise ValueError(f"{num_classes} class names need a [{num_classes}, {num_classes}] matrix, got {matrix.shape}")
    support = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, support, out=np.zeros(matrix.shape), where=support > 0)

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
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    image = axes.imshow(share, cmap=TRUE_CLASS_BLUES, norm=norm, interpolation="nearest", aspect="auto")
    axes.set(xlabel="Predicted class", ylabel="True class")
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color="#b8c1cb")
    if named:
        axes.set_yticks(range(num_classes), names, fontsize=size)
        if flat:
            axes.set_xticks(range(num_classes), names, fontsize=size)
        elif num_classes <= 20:  # the end of a slanted name, not its middle, belongs under its column
            axes.set_xticks(range(num_classes), names, fontsize=size, rotation=45, ha="right", rotation_mode="anchor")
        else:
            axes.set_xticks(range(num_classes), names, fontsize=size, rotation=90)
        axes.tick_params(length=0, labelcolor=INK)
    if num_classes <= 20:
        # Separating lines, drawn as the minor grid: one between every two cells.
        axes.set_xticks(np.arange(0.5, num_classes - 1), minor=True)
        axes.set_yticks(np.arange(0.5, num_classes - 1), minor=True)
        axes.grid(visible=True, which="minor", color="white", linewidth=1.2)
        axes.tick_params(which="minor", length=0)
        digits = len(f"{matrix.max():,}")
        size = min(9.5, 72 * cell * 0.85 / (0.64 * digits))
        for row, column in np.ndindex(matrix.shape):
            dark = _luminance(TRUE_CLASS_BLUES(norm(share[row, column]))) < 0.45
            color = "white" if dark else INK if matrix[row, column] else "#aab4bf"
            weight = "bold" if row == column else "normal"
            text = f"{matrix[row, column]:,}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size, fontweight=weight)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=24, pad=0.02, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1])
    bar.ax.set_yticklabels(["0", "1 %", "5 %", "20 %", "50 %", "100 %"], fontsize=8)
    bar.set_label("Share of the true class", fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.grid(visible=False)
    return figure


def _luminance(color: tuple[float, ...]) -> float:
    red, green, blue = color[:3]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
