"""The curve of a learning-rate range test."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jaxtl.report.plots.style import BLUE, INK, PALETTE, SKY, styled


@styled
def loss_by_rate(rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, marks: Mapping[str, float]) -> Figure:
    """Loss against the logarithm of the learning rate, with rates that are marked.

    Args:
      rates: float [S], > 0, growing.
      losses: float [S], of each batch; drawn faintly.
      smoothed: float [S]; the axis ends a little above where these begin, and leaves out where the loss has blown up.
      marks: name -> rate.

    Raises:
      ValueError: there is no step.
    """
    if not len(rates) == len(losses) == len(smoothed) > 0:
        raise ValueError("loss_by_rate needs as many rates, losses and smoothed losses, at least one of each")
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.plot(rates, losses, ".", color=SKY, markersize=4, alpha=0.6, label="each batch")
    axes.plot(rates, smoothed, color=BLUE, label="smoothed")
    for (name, rate), color in zip(marks.items(), PALETTE[1:], strict=False):
        height = float(np.interp(np.log(rate), np.log(rates), smoothed))
        axes.axvline(rate, color=color, linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
        axes.plot([rate], [height], "o", color=color, ms=8, mec="white", mew=1.2, zorder=3, label=f"{name}: {rate:.2g}")
    low, start = float(min(losses.min(), smoothed.min())), float(np.median(smoothed[: max(len(smoothed) // 4, 1)]))
    rise = max(start - low, 0.05 * abs(start), 1e-6)
    axes.set_ylim(low - 0.08 * rise, start + 0.5 * rise)
    axes.set(xlabel="Learning rate (logarithmic)", ylabel="Training loss", title="Learning-rate range test")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(axis="x", which="minor", length=0)
    axes.legend(loc="best", labelcolor=INK)
    return figure
