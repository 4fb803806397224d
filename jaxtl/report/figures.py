"""The pictures of a run's report, under the captions that the page knows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxtl.data.stored import StoredImages
from jaxtl.models.grad_cam import ClassMaps
from jaxtl.report import html, plots
from jaxtl.report.comparison import by_labels

SHOWN, LOSSES, UNSURE, EXPLAINED = 20, 10, 5, 8  # pictures in a grid
FEW = 3  # as many of the largest losses must be new to a reader of the predictions, or they are not shown again


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
    losses: np.ndarray,
    confusion: np.ndarray,
    comparison: Sequence[Mapping[str, Any]],
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    explain: Callable[[np.ndarray], ClassMaps | None],
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
      losses: float ``[M]``, cross-entropy.
      confusion: int ``[K, K]``.
      comparison: rows of ``compare``; empty where the run stands alone.
      histories: by name, those of all runs of the comparison.
      explain: from int ``[B]``, B <= 8, indices of test images, to their class-activation maps; ``None`` where the
        network has none. Called once at most.
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

    def chosen(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return np.asarray(test_images[indices]), test_labels[indices], predicted[indices], probability[indices]

    shown = plots.choose_predictions(test_labels, predicted, probability, SHOWN)
    figures[html.PREDICTIONS] = plots.prediction_grid(*chosen(shown), class_names)
    largest = plots.largest_losses(losses, LOSSES)
    if len(np.setdiff1d(largest, shown)) >= min(FEW, len(largest)):
        figures[html.LOSSES] = plots.loss_grid(*chosen(largest), losses[largest], class_names)
    else:
        largest = largest[:0]
    right = test_labels == predicted
    right[largest] = False
    unsure = plots.largest_losses(losses, UNSURE, among=right)
    if len(unsure):
        figures[html.UNSURE] = plots.loss_grid(*chosen(unsure), losses[unsure], class_names)
    explained = plots.choose_predictions(test_labels, predicted, probability, EXPLAINED)
    if maps := explain(explained):
        figures[html.CLASS_MAPS] = plots.class_map_grid(
            *chosen(explained), maps.predicted, maps.true, class_names, stage=maps.stage
        )
    figures[html.SAMPLES] = plots.class_samples(train_images, train_labels, class_names)
    return figures
