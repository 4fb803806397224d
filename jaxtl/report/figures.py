"""The pictures of a run's report, under the captions that the page knows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxtl.data.stored import StoredImages
from jaxtl.report import html, plots
from jaxtl.report.comparison import by_labels


def draw(
    *,
    history: Sequence[Mapping[str, Any]],
    best_epoch: int,
    class_names: Sequence[str],
    train_images: np.ndarray | StoredImages,
    train_labels: np.ndarray,
    test_images: np.ndarray | StoredImages,
    test_labels: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
    confusion: np.ndarray,
    comparison: Sequence[Mapping[str, Any]],
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Figure]:
    """All figures of a run, caption -> figure.

    Args:
      history: lines of ``metrics.jsonl``.
      best_epoch: the epoch that was tested.
      class_names: K names.
      train_images: uint8 ``[N, H, W, C]``, for the samples of each class.
      train_labels: int ``[N]``.
      test_images: uint8 ``[M, H, W, C]``, for the grid of predictions.
      test_labels: int ``[M]``.
      predicted: int ``[M]``.
      probability: float ``[M]``, of the predicted class.
      confusion: int ``[K, K]``.
      comparison: rows of ``compare``; empty where the run stands alone.
      histories: by name, those of all runs of the comparison.
    """
    figures: dict[str, Figure] = {}
    if comparison:
        figures[html.COMPARISON] = plots.accuracy_comparison(
            [row["name"] for row in comparison],
            [row["accuracy"] for row in comparison],
            [row["interval"] for row in comparison],
        )
        if series := by_labels(comparison):
            figures[html.LABELS] = plots.accuracy_by_labels(series)
        if any(histories.values()):
            figures[html.COMPARISON_CURVES] = plots.overlaid_curves(histories)
    if history:
        figures[html.CURVES] = plots.curves(history, best_epoch=best_epoch)
        figures[html.LEARNING_RATE] = plots.learning_rate(history)
    figures[html.CONFUSION] = plots.confusion_matrix(confusion, class_names)
    shown = plots.choose_predictions(test_labels, predicted, probability, 20)
    figures[html.PREDICTIONS] = plots.prediction_grid(
        np.asarray(test_images[shown]), test_labels[shown], predicted[shown], probability[shown], class_names
    )
    figures[html.SAMPLES] = plots.class_samples(train_images, train_labels, class_names)
    return figures
