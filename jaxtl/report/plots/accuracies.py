"""Accuracies of several runs side by side."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxtl.report.plots.style import INK, fit_names, percent_ticks, run_color, run_marker, styled


@styled
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
        color = run_color(row)
        axes.plot([low, high], [row, row], color=color, linewidth=2.2, solid_capstyle="butt")
        axes.plot([low, high], [row, row], "|", color=color, ms=9, mew=2.2)
        axes.plot([accuracy], [row], run_marker(row), color=color, ms=8, mec="white", mew=1.2)
        text = f"{100 * accuracy:.1f} %"
        axes.annotate(text, (accuracy, row), (0, 8), textcoords="offset points", ha="center", fontweight="bold")
    axes.set_yticks(range(len(names)), fit_names(names, points=200, size=9))
    axes.set_ylim(len(names) - 0.5, -0.65)
    lowest, highest = min(low for low, _ in intervals), max(high for _, high in intervals)
    pad = max(0.08 * (highest - lowest), 0.004)
    axes.set_xlim(lowest - pad, highest + pad)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(percent_ticks())
    axes.set_xlabel("Test accuracy (line: 95 % interval)")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    return figure
