"""Speeds as bars: a panel for each network, a bar for each contender."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from jaxtl.report.plots.style import BLUE, FAINT, INK, MUTED, SKY, styled

ROW, HEAD, FOOT = 0.3, 0.32, 0.32  # inches: a bar, a panel's title, a panel's axis
WIDTH = 8.0


@styled
def draw(cases: Sequence[dict[str, Any]], title: str) -> Figure:
    """Images/s of every contender of every case.

    Args:
      cases: as `benchmarks.side_by_side.record` returns them.
      title: above all panels.
    """
    heights = [HEAD + FOOT + ROW * len(case["contenders"]) for case in cases]
    height = 0.65 + sum(heights)
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0.02, 1 - 0.1 / height, title, va="top", fontsize=12, weight="bold", color=INK)
    top = height - 0.4
    for case, panel in zip(cases, heights, strict=True):
        rows = len(case["contenders"])
        axes = figure.add_axes((0.22, (top - panel + FOOT) / height, 0.75, ROW * rows / height))
        axes.set_title(f"{case['model']} at {case['size']} x {case['size']}, batch {case['batch']}")
        axes.grid(axis="y", visible=False)
        for i, (name, line) in enumerate(case["contenders"].items()):
            rate, low, high = (line[f"{key}images_per_s"] for key in ("", "lowest_", "highest_"))
            color = BLUE if name == case["ours"] else SKY if name.startswith("jaxtl") else "#b8c1cb"
            axes.barh(i, rate, 0.66, color=color)
            axes.plot([low, high], [i, i], color=INK, linewidth=1.0, solid_capstyle="butt")
            text = f"{rate:,.4g}"
            if name in case["ratios"]:
                text += f"  (jaxtl: {case['ratios'][name]['median']:.2f} x)"
            axes.annotate(
                text, (max(rate, high), i), (4, 0), textcoords="offset points", va="center_baseline", color=INK
            )
        axes.set_yticks(range(rows), list(case["contenders"]))
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.tick_params(axis="x", color=FAINT)
        axes.set_ylim(rows - 0.5, -0.5)
        # Room for the figures behind the longest bar.
        axes.set_xlim(0, 1.3 * max(line["highest_images_per_s"] for line in case["contenders"].values()))
        axes.spines["left"].set_visible(False)
        top -= panel
    figure.text(0.97, 0.06 / height, "images/s, median; line: least to most", ha="right", color=MUTED, fontsize=8)
    return figure
