"""The charts of a report: every function takes arrays or mappings and returns a ``matplotlib.figure.Figure``.

Only matplotlib's object interface is used, so a figure belongs to its caller and to nothing else. All figures are
sized in the same inches-per-font scale; side by side on a page their letters are equally large.
"""

from jaxtl.report.plots.accuracies import accuracy_by_labels, accuracy_comparison, reliability, time_accuracy
from jaxtl.report.plots.confusion import confusion_matrices
from jaxtl.report.plots.curves import accuracy_metrics, curves, learning_rate, loss_by_rate, overlaid_curves
from jaxtl.report.plots.style import png, svg

__all__ = [
    "accuracy_by_labels",
    "accuracy_comparison",
    "accuracy_metrics",
    "confusion_matrices",
    "curves",
    "learning_rate",
    "loss_by_rate",
    "overlaid_curves",
    "png",
    "reliability",
    "svg",
    "time_accuracy",
]
