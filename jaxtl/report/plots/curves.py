"""Quantities against the epoch, and the loss against the learning rate."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import isfinite
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from jaxtl.report.plots import style
from jaxtl.report.plots.style import fit_names, fit_text, percent_axis, run_color, run_marker, styled, text_width

History = Sequence[Mapping[str, Any]]
Series = tuple[list[int], list[float]]
BOUNDARY: dict[str, Any] = {"linewidth": 1, "linestyle": (0, (4, 3)), "zorder": 0.5}


@styled
def curves(history: History, *, best_epoch: int | None = None) -> Figure:
    """Loss and accuracy against the epoch, on two axes.

    Args:
      history: one mapping an epoch with ``phase``, ``epoch`` (1-based, counted over all phases), ``train_loss``,
        ``train_accuracy``, ``val_loss``, ``val_accuracy``; the measured ones may be absent, None or not finite.
      best_epoch: the epoch whose parameters were kept; marked on the validation curve if there is one.
    """
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, metric in ((left, "loss"), (right, "accuracy")):
        _epoch_axis(axes, history, metric.capitalize(), width=4.3)
        trained, validated = _series(history, f"train_{metric}"), _series(history, f"val_{metric}")
        _line(axes, trained, color=style.BLUE, label="train")
        _line(axes, validated, color=style.VERMILION, label="validation")
        epochs, values = validated if validated[0] else trained
        if best_epoch in epochs:
            best = values[epochs.index(best_epoch)]
            shown = f"{100 * best:.1f} %" if metric == "accuracy" else f"{best:.3g}"
            label = f"tested: epoch {best_epoch}, {shown}"
            axes.plot([best_epoch], [best], "o", ms=10, mfc="none", mec=style.INK, mew=1.4, label=label)
        if epochs:
            axes.legend(loc="best")
        else:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=style.MUTED)
    percent_axis(right.yaxis)
    return figure


@styled
def learning_rate(history: History, rates: np.ndarray) -> Figure:
    """Learning rate of every step against the epoch; logarithmic where most are 50 times as small as the largest.

    Args:
      history: one mapping an epoch with ``phase`` and ``epoch``, at least one.
      rates: float [S], of the steps of all these epochs; S is a multiple of their number.
    """
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    axes = figure.subplots()
    _epoch_axis(axes, history, "Learning rate", width=9.3)
    steps = len(rates) // len(history)
    epochs = np.array([line["epoch"] for line in history])[:, None] - 0.5 + (np.arange(steps) + 0.5) / steps
    for _, of_phase in groupby(range(len(history)), key=lambda i: history[i]["phase"]):
        rows = list(of_phase)
        axes.plot(epochs[rows].ravel(), rates.reshape(-1, steps)[rows].ravel(), color=style.BLUE)
    if rates.max() > 50 * np.median(rates):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter("{x:g}")
    return figure


@styled
def overlaid_curves(histories: Mapping[str, History]) -> Figure:
    """Accuracy of several runs against the epoch.

    It is validation accuracy where every run has it, training accuracy where none has. Where only some have it, both
    are drawn, side by side: then every run can be compared with every other in one of them.

    Args:
      histories: name of the run -> its history (see ``curves``); at least one of them measured either.
    """
    metrics = accuracy_metrics(histories)
    figure = Figure(figsize=(10, max(3.9, 0.19 * len(histories) + 0.4)), layout="constrained")
    (panels,) = figure.subplots(1, len(metrics), sharex=True, sharey=True, squeeze=False)
    labels = fit_names(list(histories), points=170, size=8.5)
    entries: dict[str, Any] = {}
    for axes, metric in zip(panels, metrics, strict=True):
        for i, (label, history) in enumerate(zip(labels, histories.values(), strict=True)):
            # A run looks the same in all panels and charts; dashes help where there are too many epochs for markers.
            looks = {"linestyle": ("-", "--", ":", "-.")[i // len(style.PALETTE) % 4], "marker": run_marker(i)}
            _line(axes, _series(history, metric), color=run_color(i), label=label, **looks)
        handles, drawn = axes.get_legend_handles_labels()
        entries = dict(zip(drawn, handles, strict=True)) | entries
        axes.xaxis.set_major_locator(_whole_epochs(10 if len(panels) == 1 else 6))
        percent_axis(axes.yaxis)
        axes.set(xlabel="Epoch", title="Validation accuracy" if metric == "val_accuracy" else "Training accuracy")
    epochs = [epoch for history in histories.values() for m in metrics for epoch in _series(history, m)[0]]
    panels[0].set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    if len(histories) <= 4:
        for axes in panels:
            axes.legend(loc="best")
    else:  # a long legend would lie on the curves
        figure.legend(entries.values(), entries.keys(), loc="outside right upper")
    return figure


def accuracy_metrics(histories: Mapping[str, History]) -> list[str]:
    """The fields that ``overlaid_curves`` draws: ``val_accuracy``, ``train_accuracy``, both, or none."""
    trained = {name for name, history in histories.items() if _series(history, "train_accuracy")[0]}
    validated = {name for name, history in histories.items() if _series(history, "val_accuracy")[0]}
    return ["val_accuracy"] * bool(validated) + ["train_accuracy"] * bool(trained - validated)


@styled
def loss_by_rate(rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, marks: Mapping[str, float]) -> Figure:
    """Loss against the logarithm of the learning rate, with rates that are marked: a learning-rate range test.

    Args:
      rates: float [S], > 0, growing.
      losses: float [S], of each batch; drawn faintly.
      smoothed: float [S]; the axis ends a little above where these begin, and leaves out where the loss has blown up.
      marks: name -> rate.
    """
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.plot(rates, losses, ".", color=style.SKY, markersize=4, alpha=0.6, label="each batch")
    axes.plot(rates, smoothed, color=style.BLUE, label="smoothed")
    for (name, rate), color in zip(marks.items(), style.PALETTE[1:], strict=False):
        height = float(np.interp(np.log(rate), np.log(rates), smoothed))
        axes.axvline(rate, color=color, **BOUNDARY)
        looks: dict[str, Any] = {"color": color, "ms": 8, "mec": style.PAPER, "mew": 1.2, "zorder": 3}
        axes.plot([rate], [height], "o", label=f"{name}: {rate:.2g}", **looks)
    low, start = float(min(losses.min(), smoothed.min())), float(np.median(smoothed[: max(len(smoothed) // 4, 1)]))
    rise = max(start - low, 0.05 * abs(start), 1e-6)
    axes.set_ylim(low - 0.08 * rise, start + 0.5 * rise)
    axes.set(xlabel="Learning rate (logarithmic)", ylabel="Training loss", title="Learning-rate range test")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.tick_params(axis="x", which="minor", length=0)
    axes.legend(loc="best", labelcolor=style.INK)
    return figure


def _series(history: History, field: str) -> Series:
    """Epochs and values of a field, without the epochs in which it was not measured (or diverged)."""
    measured = [line for line in history if line.get(field) is not None and isfinite(line[field])]
    return [int(line["epoch"]) for line in measured], [float(line[field]) for line in measured]


def _line(axes: Axes, series: Series, *, color: str, label: str, linestyle: str = "-", marker: str = "o") -> None:
    epochs, values = series
    if epochs:  # many epochs read better as a plain line; a single one is invisible without its marker
        shown, size = marker if len(epochs) <= 30 else "", 6.0 if len(epochs) == 1 else 3.5
        axes.plot(epochs, values, color=color, label=label, linestyle=linestyle, marker=shown, markersize=size)


def _epoch_axis(axes: Axes, history: History, title: str, *, width: float) -> None:
    """Title, epoch axis and the phases: a light line at each boundary, the phase's name above its epochs.

    Names that would run into each other stand on lines of their own. ``width`` is about that of the axes, in inches.
    """
    first, last = history[0]["epoch"] - 0.5, history[-1]["epoch"] + 0.5
    axes.set_xlim(first, last)
    axes.xaxis.set_major_locator(_whole_epochs(10 if width > 6 else 8))
    axes.set_xlabel("Epoch")
    phases = [(name, next(lines)["epoch"] - 0.5) for name, lines in groupby(history, key=lambda line: line["phase"])]
    ends: list[float] = []  # where each line of names is occupied up to, in points
    for name, start in phases if len(phases) > 1 else ():
        if start > first:
            axes.axvline(start, color=style.EDGE, **BOUNDARY)
        name = fit_text(name, points=150, size=8)
        wide = text_width(name, 8) + 4
        left = min(72 * width * (start - first) / (last - first), 72 * width - wide)  # late names end at the edge
        level = next((i for i, end in enumerate(ends) if end <= left), len(ends))
        ends[level : level + 1] = [left + wide + 4]
        looks: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False, "fontsize": 8}
        place, above = (left / (72 * width), 1), (2, 3 + 11 * level)
        axes.annotate(name, place, above, "axes fraction", color=style.MUTED, **looks)
    axes.set_title(title, pad=7 + 11 * len(ends))


def _whole_epochs(ticks: int) -> MaxNLocator:
    return MaxNLocator(ticks, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
