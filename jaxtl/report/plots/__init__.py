"""The charts of a report: every function returns a ``matplotlib.figure.Figure``, made without pyplot's global state.

All figures are sized in the same inches-per-font scale; side by side on a page their letters are equally large.
"""

from jaxtl.report.plots.accuracies import accuracy_by_labels as accuracy_by_labels
from jaxtl.report.plots.accuracies import accuracy_comparison as accuracy_comparison
from jaxtl.report.plots.accuracies import reliability as reliability
from jaxtl.report.plots.accuracies import time_accuracy as time_accuracy
from jaxtl.report.plots.confusion import confusion_matrices as confusion_matrices
from jaxtl.report.plots.curves import accuracy_metrics as accuracy_metrics
from jaxtl.report.plots.curves import curves as curves
from jaxtl.report.plots.curves import learning_rate as learning_rate
from jaxtl.report.plots.curves import loss_by_rate as loss_by_rate
from jaxtl.report.plots.curves import overlaid_curves as overlaid_curves
from jaxtl.report.plots.style import png as png
from jaxtl.report.plots.style import svg as svg
