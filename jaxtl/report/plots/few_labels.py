"""How a strategy fares with few labels: test accuracy against the number of labels a class."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from jaxtl.report.plots.style import percent_ticks, run_color, run_marker, styled

# Neighbouring lines stand this far apart on the logarithmic axis, so that their intervals do not hide each other.
DODGE = 0.018

Point = tuple[int, float, tuple[float, float]]


@styled
def accuracy_by_labels(series: Mapping[str, Sequence[Point]]) -> Figure:
    """One line a strategy, with the interval of each accuracy.

    Args:
      series: by name, points (labels a class, accuracy in [0, 1], (low, high) of its interval).

    Raises:
      ValueError: there is no point, or a number of labels is not positive.
    """
    counts = sorted({labels for points in series.values() for labels, _, _ in points})
    if not counts or counts[0] < 1:
        raise ValueError(f"accuracy_by_labels needs points with 1 label a class or more, got {counts}")
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    for i, (name, points) in enumerate(series.items()):
        ordered = sorted(points)
        x = np.array([labels for labels, _, _ in ordered]) * 10 ** (DODGE * (i - (len(series) - 1) / 2))
        axes.plot(x, [accuracy for _, accuracy, _ in ordered], color=run_color(i), label=name, alpha=0.85)
        for place, (_, accuracy, (low, high)) in zip(x, ordered, strict=True):
            axes.plot([place, place], [low, high], color=run_color(i), linewidth=1.6, solid_capstyle="butt")
            axes.plot([place], [accuracy], run_marker(i), color=run_color(i), ms=7, mec="white", mew=1.0, zorder=3)
    axes.set_xlim(counts[0] / 1.6, counts[-1] * 1.6)
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{count:,}" for count in counts]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(8))
    axes.yaxis.set_major_formatter(percent_ticks())
    axes.set(xlabel="Labels a class (logarithmic)", ylabel="Test accuracy (line: 95 % interval)")
    axes.legend(loc="lower right")
    return figure
