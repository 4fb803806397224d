"""The figures of a report: every function takes arrays or mappings and returns a ``matplotlib.figure.Figure``.

Only matplotlib's object interface is used, so a figure belongs to its caller and to nothing else. All figures are
sized in the same inches-per-font scale; side by side on a page their letters are equally large.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import groupby
from math import ceil, isfinite
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

# Okabe and Ito's palette (jfly.uni-koeln.de/color), which colour-blind readers can tell apart, without its yellow.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, MUTED, FAINT = "#1f2933", "#66717e", "#e4e8ed"
RIGHT, WRONG = "#00734f", "#c2361b"  # darker green and red than the palette's: they colour small letters

TRUE_CLASS_BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#cfe3f2", "#6aaed6", "#1c6fb0", "#08306b"])

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib: the same letters on every machine
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
_styled = matplotlib.rc_context(STYLE)  # as a decorator: the style holds inside one call only

METRIC_TITLES = {
    "train_loss": "Training loss",
    "val_loss": "Validation loss",
    "train_accuracy": "Training accuracy",
    "val_accuracy": "Validation accuracy",
    "learning_rate": "Learning rate",
    "images_per_s": "Images per second",
}


@_styled
def curves(history: Sequence[Mapping[str, Any]], *, best_epoch: int | None = None) -> Figure:
    """Loss and accuracy against the epoch, on two axes.

    Args:
      history: one mapping an epoch with ``phase``, ``epoch`` (1-based, counted over all phases), ``train_loss``,
        ``train_accuracy``, ``val_loss``, ``val_accuracy``; the measured ones may be absent, None or not finite.
      best_epoch: the epoch whose parameters were kept; marked on the validation curve if there is one.

    Raises:
      ValueError: the history is empty.
    """
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, metric, title in ((left, "loss", "Loss"), (right, "accuracy", "Accuracy")):
        _epoch_axis(axes, history, title, width=4.3)
        validated = _series(history, f"val_{metric}")
        trained = _series(history, f"train_{metric}")
        _line(axes, trained, color=BLUE, label="train")
        _line(axes, validated, color=VERMILION, label="validation")
        epochs, values = validated if validated[0] else trained
        if best_epoch in epochs:
            best = values[epochs.index(best_epoch)]
            shown = f"{100 * best:.1f} %" if metric == "accuracy" else f"{best:.3g}"
            label = f"best epoch {best_epoch}: {shown}"
            axes.plot([best_epoch], [best], "o", ms=10, mfc="none", mec=INK, mew=1.4, label=label)
        _legend(axes)
    right.yaxis.set_major_formatter(_percent())
    return figure


@_styled
def learning_rate(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Learning rate against the epoch; logarithmic when it spans more than a factor of 50.

    Args:
      history: one mapping an epoch with ``phase``, ``epoch`` and ``learning_rate`` (see ``curves``).

    Raises:
      ValueError: the history is empty.
    """
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    axes = figure.subplots()
    _epoch_axis(axes, history, "Learning rate", width=9.3)
    epochs, rates = _series(history, "learning_rate")
    _line(axes, (epochs, rates), color=BLUE, label="learning rate")
    if rates and min(rates) > 0 and max(rates) > 50 * min(rates):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return figure


@_styled
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
    names = [_fit(name, points=110, size=size) for name in class_names] if named else []
    widest = max((_width(name, size) for name in names), default=20.0)
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


def choose_predictions(labels: np.ndarray, predicted: np.ndarray, probability: np.ndarray, count: int) -> np.ndarray:
    """Choose which predictions to show: the most confident mistakes, then right ones spread over the classes.

    Mistakes take up to half of the places, so that the grid shows both; the other kind fills places that would stay
    empty. Right ones are dealt class by class, in the order of the data set: they are typical, not the easiest.

    Args:
      labels: int [N], true classes.
      predicted: int [N], predicted classes.
      probability: float [N], probability of the predicted class.
      count: how many to choose.

    Returns:
      int64 [min(count, N)], distinct indices into the N examples.
    """
    labels, predicted, probability = np.asarray(labels), np.asarray(predicted), np.asarray(probability)
    wrong = np.flatnonzero(labels != predicted)
    wrong = wrong[np.argsort(-probability[wrong], kind="stable")]
    right = np.flatnonzero(labels == predicted)
    # Rank of an example among the right ones of its class; sorting by it deals one of each class, then a second …
    by_class = right[np.argsort(labels[right], kind="stable")]
    _, first, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(by_class)) - np.repeat(first, sizes)
    right = by_class[np.argsort(rank, kind="stable")]
    mistakes = min(len(wrong), max(ceil(count / 2), count - len(right)))
    return np.concatenate([wrong[:mistakes], right[: max(count - mistakes, 0)]])[:count]


@_styled
def prediction_grid(
    images: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
    class_names: Sequence[str],
    *,
    rows: int = 4,
    columns: int = 5,
) -> Figure:
    """Pictures with "True: x / Prediction: y (97 %)" above them, green where right and red where wrong.

    Args:
      images: uint8 [N, H, W, C], C = 1 (grey) or 3; the first rows * columns are shown.
      labels: int [N], true classes.
      predicted: int [N], predicted classes.
      probability: float [N], probability of the predicted class, in [0, 1].
      class_names: K names.
      rows: most rows of the grid; rows and columns that would stay empty are left out.
      columns: most columns of the grid.

    Raises:
      ValueError: there is no image, or the arrays differ in length.
    """
    if not len(images) == len(labels) == len(predicted) == len(probability) > 0:
        lengths = len(images), len(labels), len(predicted), len(probability)
        raise ValueError(f"need as many images, labels, predicted classes and probabilities, at least one: {lengths}")
    count = min(len(images), rows * columns)
    columns = min(columns, count)
    rows = ceil(count / columns)
    cell, size = 1.95, 8.0  # inches, points
    figure = Figure(figsize=(cell * columns, (cell + 0.15) * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.07)  # type: ignore[call-arg, union-attr]
    grid = figure.subplots(rows, columns, squeeze=False)
    for i, axes in enumerate(grid.flat):
        if i >= count:
            axes.set_axis_off()
            continue
        color = RIGHT if labels[i] == predicted[i] else WRONG
        axes.imshow(_rgb(images[i]), interpolation=_interpolation(images))
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set(visible=True, color=color, linewidth=2)
        certainty = f" ({100 * probability[i]:.0f} %)"
        room = 72 * cell - 9
        true_line = "True: " + _fit(class_names[labels[i]], points=room - _width("True: ", size), size=size)
        prediction = _fit(class_names[predicted[i]], points=room - _width("Prediction: " + certainty, size), size=size)
        title = f"{true_line}\nPrediction: {prediction}{certainty}"
        axes.set_title(title, loc="center", color=color, fontsize=size, fontweight="normal", linespacing=1.35, pad=5)
    return figure


@_styled
def class_samples(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], *, per_class: int = 8, seed: int = 0
) -> Figure:
    """Sample images of every class, one row a class; of more than 20 classes the first 20.

    Args:
      images: uint8 [N, H, W, C], C = 1 (grey) or 3.
      labels: int [N], classes.
      class_names: K names.
      per_class: pictures in a row; a class with fewer leaves its row short.
      seed: chooses the pictures.
    """
    shown = min(len(class_names), 20)
    height, width = images.shape[1:3]
    gap = max(1, round(0.06 * width))
    # One picture of pictures: a hundred and more separate axes would take seconds to lay out.
    wall = np.full((shown * (height + gap) - gap, per_class * (width + gap) - gap, 3), 255, np.uint8)
    generator = np.random.default_rng(seed)
    labels = np.asarray(labels)
    for row in range(shown):
        members = np.flatnonzero(labels == row)
        chosen = np.sort(generator.choice(members, min(per_class, len(members)), replace=False))
        for column, i in enumerate(chosen):
            y, x = row * (height + gap), column * (width + gap)
            wall[y : y + height, x : x + width] = _rgb(images[i])

    tile = min(0.9, 8.4 / per_class)  # inches
    names = [_fit(name, points=110, size=9) for name in class_names[:shown]]
    left, top = max(_width(name, 9) for name in names) / 72 + 0.12, 0.3 if shown < len(class_names) else 0.02
    wide, tall = tile * per_class, tile * wall.shape[0] / wall.shape[1] * per_class
    figure = Figure(figsize=(left + wide + 0.02, top + tall + 0.02))
    # Placed by hand: the pictures then have exactly the proportions of the axes.
    width_in, height_in = figure.get_size_inches()
    axes = figure.add_axes((left / width_in, 0.02 / height_in, wide / width_in, tall / height_in))
    axes.imshow(wall, interpolation=_interpolation(images), aspect="auto")
    axes.set_yticks(np.arange(shown) * (height + gap) + (height - 1) / 2, names)
    axes.set_xticks([])
    axes.tick_params(length=0, labelcolor=INK)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if shown < len(class_names):
        axes.set_title(f"The first {shown} of {len(class_names)} classes")
    return figure


@_styled
def accuracy_comparison(
    names: Sequence[str], accuracies: Sequence[float], intervals: Sequence[tuple[float, float]]
) -> Figure:
    """Accuracy of several arms with their intervals, as dots and whiskers, the first arm on top.

    The axis does not start at zero: dots, unlike bars, do not claim that it does.

    Args:
      names: names of the arms.
      accuracies: accuracies in [0, 1].
      intervals: (low, high) of each accuracy, e.g. from ``statistics.wilson_interval``.

    Raises:
      ValueError: there is no arm, or the sequences differ in length.
    """
    if not len(names) == len(accuracies) == len(intervals) > 0:
        raise ValueError("accuracy_comparison needs as many names, accuracies and intervals, at least one of each")
    figure = Figure(figsize=(10, 0.95 + 0.55 * len(names)), layout="constrained")
    axes = figure.subplots()
    for row, (accuracy, (low, high)) in enumerate(zip(accuracies, intervals, strict=True)):
        color = PALETTE[row % len(PALETTE)]
        axes.plot([low, high], [row, row], color=color, linewidth=2.2, solid_capstyle="butt")
        axes.plot([low, high], [row, row], "|", color=color, ms=9, mew=2.2)
        axes.plot([accuracy], [row], "o", color=color, ms=8, mec="white", mew=1.2)
        text = f"{100 * accuracy:.1f} %"
        axes.annotate(text, (accuracy, row), (0, 8), textcoords="offset points", ha="center", fontweight="bold")
    axes.set_yticks(range(len(names)), [_fit(name, points=150, size=9) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.65)
    lowest, highest = min(low for low, _ in intervals), max(high for _, high in intervals)
    pad = max(0.08 * (highest - lowest), 0.004)
    axes.set_xlim(lowest - pad, highest + pad)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(_percent())
    axes.set_xlabel("Test accuracy (line: 95 % interval)")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    return figure


@_styled
def overlaid_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]], *, metric: str = "val_accuracy") -> Figure:
    """One metric of several runs against the epoch.

    Args:
      histories: name of the run -> its history (see ``curves``); a run that never measured the metric is left out.
      metric: a field of the history's lines.

    Raises:
      ValueError: no run measured the metric.
    """
    lines = {name: _series(history, metric) for name, history in histories.items()}
    lines = {name: line for name, line in lines.items() if line[0]}
    if not lines:
        raise ValueError(f"no run has a value of {metric!r} to draw")
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    axes = figure.subplots()
    for i, (name, line) in enumerate(lines.items()):
        # After one round of colours the dashes tell the runs apart.
        style = ("-", "--", ":", "-.")[i // len(PALETTE) % 4]
        _line(axes, line, color=PALETTE[i % len(PALETTE)], label=_fit(name, points=220, size=8.5), linestyle=style)
    first = min(line[0][0] for line in lines.values())
    last = max(line[0][-1] for line in lines.values())
    axes.set_xlim(first - 0.5, last + 0.5)
    axes.xaxis.set_major_locator(_whole_epochs(10))
    axes.set_xlabel("Epoch")
    axes.set_title(METRIC_TITLES.get(metric, metric))
    if metric.endswith("accuracy"):
        axes.yaxis.set_major_formatter(_percent())
    axes.legend(loc="best")
    return figure


@_styled
def png(figure: Figure, dpi: int = 160) -> bytes:
    """Draw a figure as a PNG file; the same figure gives the same bytes (no date, no version inside)."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _series(history: Sequence[Mapping[str, Any]], field: str) -> tuple[list[int], list[float]]:
    """Epochs and values of a field, without the epochs in which it was not measured (or diverged)."""
    measured = [line for line in history if line.get(field) is not None and isfinite(line[field])]
    return [int(line["epoch"]) for line in measured], [float(line[field]) for line in measured]


def _line(axes: Axes, series: tuple[list[int], list[float]], *, color: str, label: str, linestyle: str = "-") -> None:
    epochs, values = series
    if epochs:  # many epochs read better as a plain line; a single one is invisible without its marker
        marker = "o" if len(epochs) <= 30 else ""
        size = 6.0 if len(epochs) == 1 else 3.5
        axes.plot(epochs, values, color=color, label=label, linestyle=linestyle, marker=marker, markersize=size)


def _epoch_axis(axes: Axes, history: Sequence[Mapping[str, Any]], title: str, *, width: float) -> None:
    """Title, epoch axis and the phases: a light line at each boundary, the phase's name above its epochs.

    Short phases get their names on a second (third, …) line above, where they would run into each other.
    ``width`` is about that of the axes, in inches.
    """
    if not history:
        raise ValueError("the history has no epoch to draw")
    first, last = history[0]["epoch"] - 0.5, history[-1]["epoch"] + 0.5
    axes.set_xlim(first, last)
    axes.xaxis.set_major_locator(_whole_epochs(10 if width > 6 else 8))
    axes.set_xlabel("Epoch")

    phases = [(name, next(lines)["epoch"] - 0.5) for name, lines in groupby(history, key=lambda line: line["phase"])]
    size = 8.0
    ends: list[float] = []  # where each line of names is occupied up to, in points
    if len(phases) > 1:
        per_epoch = 72 * width / (last - first)
        for name, start in phases:
            if start > first:
                axes.axvline(start, color="#b8c1cb", linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
            name = _fit(name, points=150, size=size)
            wanted = (start - first) * per_epoch
            left = min(wanted, max(72 * width - _width(name, size) - 4, 0))  # names of late phases end at the edge
            level = next((i for i, end in enumerate(ends) if end <= left), len(ends))
            ends[level : level + 1] = [left + _width(name, size) + 8]
            align = "left" if left == wanted else "right"
            axes.annotate(
                name,
                (start if left == wanted else last, 1),
                (2 if left == wanted else -2, 3 + 11 * level),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha=align,
                color=MUTED,
                fontsize=size,
            )
    axes.set_title(title, pad=7 + 11 * len(ends))


def _whole_epochs(ticks: int) -> MaxNLocator:
    return MaxNLocator(ticks, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=MUTED)


def _percent() -> FuncFormatter:
    """Ticks in per cent with as many decimals as they need."""
    return FuncFormatter(lambda value, _: f"{round(100 * value, 6):g} %")


def _rgb(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 1 or 3] -> uint8 [H, W, 3]; grey stays grey."""
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _interpolation(images: np.ndarray) -> str:
    """Small pictures keep their pixels; large ones are averaged when they shrink."""
    return "nearest" if max(images.shape[1:3]) <= 64 else "antialiased"


def _luminance(color: tuple[float, ...]) -> float:
    red, green, blue = color[:3]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _width(text: str, size: float) -> float:
    """Width of a text in points, at a font size in points, in the house font."""
    font = FontProperties(family=STYLE["font.family"], size=size)
    return TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]


def _fit(name: str, *, points: float, size: float) -> str:
    """The name on one line, cut with an ellipsis where it is wider than ``points``."""
    name = " ".join(str(name).split())
    if _width(name, size) <= points:
        return name
    while name and _width(name + "…", size) > points:
        name = name[:-1].rstrip()
    return name + "…"
