"""What an accuracy cost: test accuracy against training time."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from jaxtl.report.plots.labels import Box, place_labels
from jaxtl.report.plots.style import INK, fit_names, percent_ticks, run_color, run_marker, styled, text_width

LETTERS = 8.5  # points

# Round times of day that may stand on the axis, in seconds, the finer rows only where there is room.
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
ROUND_TIMES = (
    (0.001, 1.0, MINUTE, HOUR, DAY, 30 * DAY),
    (0.01, 0.1, 10.0, 10 * MINUTE, 10 * HOUR, 10 * DAY),
    (0.02, 0.05, 0.2, 0.5, 2.0, 5.0, 30.0, 2 * MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 3 * DAY),
    (20.0, 3 * MINUTE, 20 * MINUTE, 40 * MINUTE, 3 * HOUR, 15 * HOUR, 2 * DAY, 5 * DAY, 7 * DAY),
)


@styled
def time_accuracy(
    names: Sequence[str],
    seconds: Sequence[float],
    accuracies: Sequence[float],
    intervals: Sequence[tuple[float, float]],
) -> Figure:
    """Test accuracy with its interval against the logarithm of the training time, the name written at each point.

    Args:
      names: names of the runs.
      seconds: training times, > 0.
      accuracies: accuracies in [0, 1].
      intervals: (low, high) of each accuracy.

    Raises:
      ValueError: there is no run, the sequences differ in length, or a time is not positive.
    """
    if not len(names) == len(seconds) == len(accuracies) == len(intervals) > 0:
        raise ValueError("time_accuracy needs as many names, times, accuracies and intervals, at least one of each")
    if not min(seconds) > 0:
        raise ValueError(f"a logarithmic axis needs times > 0, got {min(seconds)}")
    # Placed by hand: where the labels go depends on where exactly the axes are.
    width, height = 10.0, 4.6 + 0.13 * max(len(names) - 12, 0)
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.75 / width, 0.62 / height, (width - 0.9) / width, (height - 0.77) / height))
    axes.set_xscale("log")
    axes.set(xlabel="Time to train (logarithmic)", ylabel="Test accuracy (line: 95 % interval)")
    _limits(axes, seconds, intervals)

    for i, (x, accuracy, (low, high)) in enumerate(zip(seconds, accuracies, intervals, strict=True)):
        color = run_color(i)
        axes.plot([x, x], [low, high], color=color, linewidth=1.6, alpha=0.75, solid_capstyle="butt")
        axes.plot([x, x], [low, high], "_", color=color, ms=7, mew=1.6, alpha=0.75)
        axes.plot([x], [accuracy], run_marker(i), color=color, ms=8, mec="white", mew=1.2, zorder=3)
    _write_names(axes, names, seconds, accuracies, intervals)
    return figure


def _limits(axes: Axes, seconds: Sequence[float], intervals: Sequence[tuple[float, float]]) -> None:
    """Room around the points for their names, and round times on the axis."""
    low, high = np.log10(min(seconds)), np.log10(max(seconds))
    pad = max(0.12 * (high - low), 0.35)  # at least a factor of 2 on each side, so that a round time falls inside
    low, high = low - pad, high + pad
    axes.set_xlim(10**low, 10**high)
    shown: list[float] = []
    for row in ROUND_TIMES:
        more = sorted([*shown, *(time for time in row if 10**low <= time <= 10**high)])
        apart = np.diff(np.log10(more)) / (high - low)  # as shares of the axis, which is about nine inches long
        if len(more) > 1 and apart.min() < 0.06:
            break
        shown = more
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FixedFormatter([_round_time(time) for time in shown]))
    axes.xaxis.set_minor_locator(NullLocator())

    bottom, top = min(low for low, _ in intervals), max(high for _, high in intervals)
    pad = max(0.08 * (top - bottom), 0.004)
    axes.set_ylim(bottom - pad, top + pad)
    axes.yaxis.set_major_locator(MaxNLocator(7))
    axes.yaxis.set_major_formatter(percent_ticks())


def _round_time(seconds: float) -> str:
    """7200 -> "2 h"."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"


def _write_names(
    axes: Axes,
    names: Sequence[str],
    seconds: Sequence[float],
    accuracies: Sequence[float],
    intervals: Sequence[tuple[float, float]],
) -> None:
    """Write each name where it covers nothing; a hair line leads to one that is not beside its point."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    to_points = 72 / figure.dpi

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = axes.transData.transform((x, y)) * to_points
        return float(across), float(up)

    points = [place(x, y) for x, y in zip(seconds, accuracies, strict=True)]
    obstacles: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    for x, (low, high) in zip(seconds, intervals, strict=True):
        (across, bottom), (_, top) = place(x, low), place(x, high)
        obstacles.append((across - 5, bottom - 2, across + 5, top + 2))
    shown = fit_names(names, points=215, size=LETTERS)
    sizes = [(text_width(name, LETTERS) + 4, 1.35 * LETTERS) for name in shown]
    left, bottom, right, top = (edge * to_points for edge in axes.bbox.extents)
    boxes = place_labels(points, sizes, obstacles, (left + 3, bottom + 3, right - 3, top - 3))
    for name, point, box in zip(shown, points, boxes, strict=True):
        centre = (box[1] + box[3]) / 2
        axes.annotate(
            name,
            (box[0] + 2, centre),
            xycoords="figure points",
            va="center_baseline",
            color=INK,
            fontsize=LETTERS,
        )
        end = np.clip(point, (box[0], box[1]), (box[2], box[3]))  # the point of the box that is nearest
        if np.hypot(*(end - point)) > 14:
            axes.annotate(
                "",
                (float(end[0]), float(end[1])),
                point,
                xycoords="figure points",
                textcoords="figure points",
                arrowprops={"arrowstyle": "-", "color": "#9aa5b1", "linewidth": 0.7, "shrinkA": 6, "shrinkB": 0},
                zorder=1.5,
            )
