"""The charts of a comparison, by the names of their files."""

import numpy as np
from matplotlib.figure import Figure

from jaxtl.report import plots
from jaxtl.report.comparison.overview import Comparison
from jaxtl.report.comparison.paired import groups

ACCURACIES, TIME_ACCURACY, CURVES = "accuracies", "time_accuracy", "curves"
CONFUSIONS = "confusion_matrices"


def draw(comparison: Comparison) -> dict[str, Figure]:
    """All charts, name -> figure; one that there is nothing to draw for is absent.

    Confusion matrices stand side by side where the classes are the same; see `confusion_groups` for their names.
    """
    runs, intervals = comparison.runs, comparison.intervals
    names, accuracies = [run.name for run in runs], [run.accuracy for run in runs]
    charts = {ACCURACIES: plots.accuracy_comparison(names, accuracies, intervals)}
    seconds = np.array([run.train_s for run in runs])
    if (seconds > 0).any():
        charts[TIME_ACCURACY] = plots.time_accuracy(names, seconds.tolist(), accuracies, intervals)
    histories = {run.name: run.history for run in runs}
    if plots.accuracy_metrics(histories):
        charts[CURVES] = plots.overlaid_curves(histories)
    for name, group in confusion_groups(comparison).items():
        matrices = {runs[i].name: runs[i].confusion for i in group}
        charts[name] = plots.confusion_grid(matrices, runs[group[0]].class_names)
    return charts


def confusion_groups(comparison: Comparison) -> dict[str, list[int]]:
    """Chart -> positions of its runs, which have the same classes: confusion_matrices, confusion_matrices_2, …"""
    found = groups([run.class_names for run in comparison.runs])
    return {CONFUSIONS + (f"_{i}" if i > 1 else ""): group for i, group in enumerate(found, start=1)}
