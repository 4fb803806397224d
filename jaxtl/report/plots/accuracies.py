"""Accuracies of several runs with their intervals: side by side, against time, and against the number of labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxtl.report.compared_runs import FinishedRun
from jaxtl.report.plots import style
from jaxtl.report.plots.style import fit_names, percent_axis, run_color, run_marker, styled
from jaxtl.report.statistics import calibration, wilson_interval

ACCURACY = "Test accuracy (line: 95 % interval)"
DODGE = 0.018  # neighbouring strategies stand this far apart on a logarithmic axis, so that no interval hides another
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
# Ticks of a logarithmic axis of time, in seconds: few where it is long, more where it is short.
FAR_TIMES = (0.001, 0.01, 0.1, 1, 10, MINUTE, 10 * MINUTE, HOUR, 10 * HOUR, DAY, 10 * DAY, 100 * DAY)
NEAR_TIMES = sorted(count * unit for unit in (0.001, 0.01, 0.1, 1, MINUTE, HOUR, DAY) for count in (1, 2, 5, 10, 30))

Interval = tuple[float, float]


@styled
def accuracy_comparison(runs: Sequence[FinishedRun]) -> Figure:
    """Accuracy of several runs, at least one, with their intervals, the first one on top.

    The axis does not start at zero: dots, unlike bars, do not claim that it does.
    """
    figure = Figure(figsize=(10, 0.95 + 0.55 * len(runs)), layout="constrained")
    axes = figure.subplots()
    for row, run in enumerate(runs):
        _dot(axes, run.accuracy, row, run.interval, row, across=True)
        text = f"{100 * run.accuracy:.1f} %"
        axes.annotate(text, (run.accuracy, row), (0, 8), textcoords="offset points", ha="center", fontweight="bold")
    if reported := [(share, row) for row, run in enumerate(runs) if (share := run.reported_point[0])]:
        _reported(axes, reported)
        axes.legend(loc="best")
    axes.set_yticks(range(len(runs)), fit_names([run.name for run in runs], points=200, size=9))
    axes.set_ylim(len(runs) - 0.5, -0.65)
    axes.set(xlim=_room(runs), xlabel=ACCURACY)
    percent_axis(axes.xaxis)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=style.INK)
    axes.spines["left"].set_visible(False)
    return figure


@styled
def time_accuracy(runs: Sequence[FinishedRun]) -> Figure:
    """Test accuracy of several runs, at least one, with its interval against the logarithm of the training time."""
    figure = Figure(figsize=(10, max(4.2, 0.19 * len(runs) + 0.6)), layout="constrained")
    axes = figure.subplots()
    labels, seconds = fit_names([run.name for run in runs], points=170, size=8.5), [run.train_s for run in runs]
    for i, (label, run) in enumerate(zip(labels, runs, strict=True)):
        _dot(axes, run.train_s, run.accuracy, run.interval, i, label=label)
    if reported := [(time, share) for share, time in (run.reported_point for run in runs) if share and time]:
        _reported(axes, reported)
        seconds += [time for time, _ in reported]
    # At least a factor of 2 on each side, so that a round time falls inside.
    pad = 10 ** max(0.12 * np.log10(max(seconds) / min(seconds)), 0.35)
    low, high = min(seconds) / pad, max(seconds) * pad
    far, near = ([time for time in times if low <= time <= high] for times in (FAR_TIMES, NEAR_TIMES))
    _log_axis(axes, "Time to train (logarithmic)", {time: _round_time(time) for time in (far if far[3:] else near)})
    axes.set(xlim=(low, high), ylim=_room(runs), ylabel=ACCURACY)
    figure.legend(loc="outside right upper")
    return figure


@styled
def accuracy_by_labels(series: Mapping[str, Sequence[tuple[int, float, Interval]]]) -> Figure:
    """How strategies fare with few labels: one line for each.

    Args:
      series: by name, at least one point (labels a class > 0, accuracy in [0, 1], (low, high) of its interval).
    """
    counts = sorted({labels for points in series.values() for labels, _, _ in points})
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplots()
    for i, (name, points) in enumerate(series.items()):
        ordered = sorted(points)
        x = np.array([labels for labels, _, _ in ordered]) * 10 ** (DODGE * (i - (len(series) - 1) / 2))
        axes.plot(x, [accuracy for _, accuracy, _ in ordered], color=run_color(i), label=name, alpha=0.85)
        for place, (_, accuracy, interval) in zip(x, ordered, strict=True):
            _dot(axes, place, accuracy, interval, i)
    _log_axis(axes, "Labels a class (logarithmic)", {count: f"{count:,}" for count in counts})
    axes.set(xlim=(counts[0] / 1.6, counts[-1] * 1.6), ylabel=ACCURACY)
    axes.legend(loc="lower right")
    return figure


@styled
def reliability(confidence: np.ndarray, right: np.ndarray, before: np.ndarray | None = None) -> Figure:
    """Accuracy against confidence, and how confident right and wrong predictions are.

    Args:
      confidence: float [N], probability of the predicted class, in [0, 1].
      right: bool [N], whether it is right.
      before: float [N], the confidences before they were calibrated, if they were.
    """
    bins, error = calibration(confidence, right)
    count, mean, accuracy = bins[bins[:, 0] > 0].T
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    left, middle = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=style.EDGE, linestyle=(0, (4, 3)), linewidth=1)
    title = f"Calibration error (ECE) {100 * error:.1f} %"
    if before is not None and not np.array_equal(before, confidence):
        earlier, its_error = calibration(before, right)
        left.plot(*earlier[earlier[:, 0] > 0, 1:].T, color=style.MUTED, marker="o", ms=4, label="before calibration")
        left.legend(loc="upper left")
        title += f", {100 * its_error:.1f} % before"
    for x, y, n in zip(mean, accuracy, count, strict=True):
        low, high = wilson_interval(round(y * n), int(n))
        reach = [[max(y - low, 0)], [max(high - y, 0)]]
        left.errorbar([x], [y], reach, color=style.BLUE, fmt="o", capsize=3, elinewidth=1.4)
    left.plot(mean, accuracy, color=style.BLUE)
    left.set(xlabel="Confidence (mean of each tenth)", ylabel="Accuracy (line: 95 % interval)", ylim=(-0.02, 1.02))
    left.set_title(title)
    for name, which, color in (("right", right, style.BLUE), ("wrong", ~right, style.VERMILION)):
        if which.any():
            label = f"{which.sum():,} {name}, mean confidence {100 * confidence[which].mean():.1f} %"
            middle.hist(confidence[which], np.linspace(0, 1, 21), color=color, alpha=0.75, label=label)
    middle.set(xlabel="Confidence", ylabel="Images (logarithmic)", yscale="log", title="Confidence")
    middle.yaxis.set_major_formatter("{x:g}")
    middle.legend(loc="upper left")
    for axes in (left, middle):
        axes.set_xlim(-0.02, 1.02)
        percent_axis(axes.xaxis)
    percent_axis(left.yaxis)
    return figure


def _dot(axes: Axes, x: float, y: float, interval: Interval, i: int, *, across: bool = False, label: str = "_") -> None:
    """The point of a run and its interval, up and down or across."""
    low, high = interval
    middle = x if across else y
    reach: dict[str, Any] = {"xerr" if across else "yerr": [[max(middle - low, 0.0)], [max(high - middle, 0.0)]]}
    looks: dict[str, Any] = {"color": run_color(i), "mec": style.PAPER, "mew": 1.2, "ms": 8, "zorder": 3}
    axes.errorbar([x], [y], **reach, fmt=run_marker(i), elinewidth=1.8, capsize=4, label=label, **looks)


def _reported(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """The figures of a study, beside ours."""
    x, y = zip(*dict.fromkeys(points), strict=True)
    axes.plot(x, y, "D", ms=7, mfc="none", mec=style.INK, mew=1.2, zorder=2, linestyle="none", label="reported")


def _log_axis(axes: Axes, name: str, ticks: Mapping[float, str]) -> None:
    axes.set(xscale="log", xlabel=name)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xticks([], minor=True)
    percent_axis(axes.yaxis)


def _room(runs: Sequence[FinishedRun]) -> Interval:
    """Limits of an axis, a little beyond all intervals and all reported figures."""
    ends = [end for run in runs for end in (*run.interval, run.reported_point[0]) if end is not None]
    low, high = min(ends), max(ends)
    pad = max(0.08 * (high - low), 0.004)
    return low - pad, high + pad


def _round_time(seconds: float) -> str:
    """7200 -> "2 h"."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"
