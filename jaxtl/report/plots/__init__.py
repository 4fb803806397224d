"""The figures of a report: every function takes arrays or mappings and returns a ``matplotlib.figure.Figure``.

Only matplotlib's object interface is used, so a figure belongs to its caller and to nothing else. All figures are
sized in the same inches-per-font scale; side by side on a page their letters are equally large.
"""

from jaxtl.report.plots.accuracies import accuracy_comparison
from jaxtl.report.plots.class_maps import class_map_grid
from jaxtl.report.plots.confusion import confusion_grid, confusion_matrix
from jaxtl.report.plots.curves import accuracy_metrics, curves, learning_rate, overlaid_curves
from jaxtl.report.plots.few_labels import accuracy_by_labels
from jaxtl.report.plots.loss_by_rate import loss_by_rate
from jaxtl.report.plots.losses import largest_losses, loss_grid
from jaxtl.report.plots.pictures import choose_predictions, class_samples, prediction_grid
from jaxtl.report.plots.style import RIGHT, WRONG, png
from jaxtl.report.plots.time_accuracy import time_accuracy

__all__ = [
    "RIGHT",
    "WRONG",
    "accuracy_by_labels",
    "accuracy_comparison",
    "accuracy_metrics",
    "choose_predictions",
    "class_map_grid",
    "class_samples",
    "confusion_grid",
    "confusion_matrix",
    "curves",
    "largest_losses",
    "learning_rate",
    "loss_by_rate",
    "loss_grid",
    "overlaid_curves",
    "png",
    "prediction_grid",
    "time_accuracy",
]
