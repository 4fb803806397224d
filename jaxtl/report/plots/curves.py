"""Quantities against the epoch."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import isfinite
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from jaxtl.report.plots.style import (
    BLUE,
    INK,
    MUTED,
    PALETTE,
    VERMILION,
    fit_names,
    fit_text,
    percent_ticks,
    run_color,
    run_marker,
    styled,
    text_width,
)

METRIC_TITLES = {
    "train_loss": "Training loss",
    "val_loss": "Validation loss",
    "train_accuracy": "Training accuracy",
    "val_accuracy": "Validation accuracy",
    "learning_rate": "Learning rate",
    "images_per_s": "Images per second",
}


@styled
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
            label = f"tested: epoch {best_epoch}, {shown}"
            axes.plot([best_epoch], [best], "o", ms=10, mfc="none", mec=INK, mew=1.4, label=label)
        _legend(axes)
    right.yaxis.set_major_formatter(percent_ticks())
    return figure


@styled
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


@styled
def overlaid_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Accuracy of several runs against the epoch.

    It is validation accuracy where every run has it, training accuracy where none has. Where only some have it, both
    are drawn, side by side: then every run can be compared with every other in one of them.

    Args:
      histories: name of the run -> its history (see ``curves``); a run that measured neither is left out.

    Raises:
      ValueError: no run measured either.
    """
    metrics = accuracy_metrics(histories)
    if not metrics:
        raise ValueError("no run has a training or validation accuracy to draw")
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    (panels,) = figure.subplots(1, len(metrics), sharey=True, squeeze=False)
    drawn = [_accuracies(axes, histories, metric) for axes, metric in zip(panels, metrics, strict=True)]
    first, last = min(epoch for epochs in drawn for epoch in epochs), max(epoch for epochs in drawn for epoch in epochs)
    for axes in panels:
        axes.set_xlim(first - 0.5, last + 0.5)
        axes.xaxis.set_major_locator(_whole_epochs(10 if len(panels) == 1 else 6))
        axes.yaxis.set_major_formatter(percent_ticks())
        axes.set_xlabel("Epoch")
    if len(histories) <= 4:
        for axes in panels:
            axes.legend(loc="best")
    else:  # a long legend would lie on the curves
        entries: dict[str, Artist] = {}
        for axes in panels:
            handles, labels = axes.get_legend_handles_labels()
            entries = dict(zip(labels, handles, strict=True)) | entries
        figure.legend(entries.values(), entries.keys(), loc="outside right upper")
        figure.set_figheight(max(3.9, 0.19 * len(entries) + 0.4))
    return figure


def accuracy_metrics(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The fields that ``overlaid_curves`` draws: ``val_accuracy``, ``train_accuracy``, or both; none if none is there.

    A run that measured neither has no say.
    """
    trained = {name for name, history in histories.items() if _series(history, "train_accuracy")[0]}
    validated = {name for name, history in histories.items() if _series(history, "val_accuracy")[0]}
    return ["val_accuracy"] * bool(validated) + ["train_accuracy"] * bool(trained - validated)


def _accuracies(axes: Axes, histories: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> list[int]:
    """Draw one metric of all runs that have it, and return the epochs in which they have it."""
    drawn: list[int] = []
    labels = fit_names(list(histories), points=170, size=8.5)
    for i, (label, history) in enumerate(zip(labels, histories.values(), strict=True)):
        series = _series(history, metric)
        drawn += series[0]
        # A run looks the same in all panels and charts; dashes help where there are too many epochs for markers.
        style = ("-", "--", ":", "-.")[i // len(PALETTE) % 4]
        _line(axes, series, color=run_color(i), label=label, linestyle=style, marker=run_marker(i))
    axes.set_title(METRIC_TITLES[metric])
    return drawn


def _series(history: Sequence[Mapping[str, Any]], field: str) -> tuple[list[int], list[float]]:
    """Epochs and values of a field, without the epochs in which it was not measured (or diverged)."""
    measured = [line for line in history if line.get(field) is not None and isfinite(line[field])]
    return [int(line["epoch"]) for line in measured], [float(line[field]) for line in measured]


def _line(
    axes: Axes,
    series: tuple[list[int], list[float]],
    *,
    color: str,
    label: str,
    linestyle: str = "-",
    marker: str = "o",
) -> None:
    epochs, values = series
    if epochs:  # many epochs read better as a plain line; a single one is invisible without its marker
        shown = marker if len(epochs) <= 30 else ""
        size = 6.0 if len(epochs) == 1 else 3.5
        axes.plot(epochs, values, color=color, label=label, linestyle=linestyle, marker=shown, markersize=size)


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
            name = fit_text(name, points=150, size=size)
            wanted = (start - first) * per_epoch
            left = min(wanted, max(72 * width - text_width(name, size) - 4, 0))  # names of late phases end at the edge
            level = next((i for i, end in enumerate(ends) if end <= left), len(ends))
            ends[level : level + 1] = [left + text_width(name, size) + 8]
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
