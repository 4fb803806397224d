"""The pictures of a run's report, under the captions that the page knows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxtl.data.stored import StoredImages
from jaxtl.models.grad_cam import ClassMaps
from jaxtl.report import plots
from jaxtl.report.comparison import Comparison, by_labels
from jaxtl.report.pictures import STRIP, Card, class_by_class, heated, largest, samples_of_classes
from jaxtl.report.text import percent

# A figure with one of these captions stands in its section of the page; any other gets a section of its own.
COMPARISON, COMPARISON_CURVES, LABELS = "Comparison", "Comparison of curves", "Comparison by labels"
CURVES, LEARNING_RATE, CONFUSION = "Learning curves", "Learning rate", "Confusion matrix"
MISTAKES, UNSURE, TYPICAL = "Largest losses of mistakes", "Right but unsure", "Right predictions"
CLASS_MAPS, SAMPLES = "Class-activation maps", "Sample images"
CAPTIONS = {COMPARISON, COMPARISON_CURVES, LABELS, CURVES, LEARNING_RATE, CONFUSION}
CAPTIONS |= {MISTAKES, UNSURE, TYPICAL, CLASS_MAPS, SAMPLES}

SHOWN_MISTAKES, SHOWN_UNSURE, SHOWN_TYPICAL, EXPLAINED, CLASSES = 12, 6, 12, 4, 20  # cards
Gallery = list[Card]


def draw(
    *,
    history: Sequence[Mapping[str, Any]],
    best_epoch: int,
    class_names: Sequence[str],
    train_images: np.ndarray | StoredImages,
    train_labels: np.ndarray,
    test_images: np.ndarray | StoredImages,
    test_labels: np.ndarray,
    test_ids: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
    losses: np.ndarray,
    confusion: np.ndarray,
    comparison: Comparison | None,
    explain: Callable[[np.ndarray], ClassMaps | None],
) -> dict[str, Figure | Gallery]:
    """All figures of a run, caption -> figure or cards with images.

    Args:
      history: lines of ``metrics.jsonl``.
      best_epoch: the epoch that was tested.
      class_names: K names.
      train_images: uint8 ``[N, H, W, C]``, for the samples of each class.
      train_labels: int ``[N]``.
      test_images: uint8 ``[M, H, W, C]``.
      test_labels: int ``[M]``.
      test_ids: ``[M]``, what each test image is called.
      predicted: int ``[M]``.
      probability: float ``[M]``, of the predicted class.
      losses: float ``[M]``, cross-entropy.
      confusion: int ``[K, K]``.
      comparison: the run beside its baselines; None where it stands alone.
      explain: from int ``[B]``, B <= 8, indices of test images, to their class-activation maps; ``None`` where the
        network has none. Called once at most.
    """
    figures: dict[str, Figure | Gallery] = {}
    if comparison:
        runs = comparison.runs
        figures[COMPARISON] = plots.accuracy_comparison(
            [run.name for run in runs], [run.accuracy for run in runs], [run.interval for run in runs]
        )
        if series := by_labels(runs):
            figures[LABELS] = plots.accuracy_by_labels(series)
        if plots.accuracy_metrics(histories := {run.name: run.history for run in runs}):
            figures[COMPARISON_CURVES] = plots.overlaid_curves(histories)
    if history:
        figures[CURVES] = plots.curves(history, best_epoch=best_epoch)
        figures[LEARNING_RATE] = plots.learning_rate(history)
    figures[CONFUSION] = plots.confusion_matrices({"": confusion}, class_names)

    def card(i: int) -> Card:
        name = str(test_ids[i]) if test_ids.dtype.kind == "U" else f"image {test_ids[i]}"
        right = bool(predicted[i] == test_labels[i])
        lines = [f"True: {class_names[test_labels[i]]} ({_certainty(np.exp(-losses[i]))})"] * (not right)
        lines.append(f"Predicted: {class_names[predicted[i]]} ({_certainty(probability[i])})")
        return Card([(np.asarray(test_images[int(i)]), "")], lines, name, right)

    right = test_labels == predicted
    mistakes, unsure = largest(losses, SHOWN_MISTAKES, ~right), largest(losses, SHOWN_UNSURE, right)
    typical = class_by_class(test_labels, np.setdiff1d(np.flatnonzero(right), unsure), SHOWN_TYPICAL)
    for caption, chosen in ((MISTAKES, mistakes), (UNSURE, unsure), (TYPICAL, typical)):
        if len(chosen):
            figures[caption] = [card(i) for i in chosen]
    explained = np.concatenate([mistakes[:EXPLAINED], typical])[: 2 * EXPLAINED]
    if len(explained) and (maps := explain(explained)):
        figures[CLASS_MAPS] = [
            _explained(card(i), maps.predicted[j], maps.true[j], class_names[predicted[i]], class_names[test_labels[i]])
            for j, i in enumerate(explained)
        ]
    samples = samples_of_classes(train_labels, min(len(class_names), CLASSES))
    figures[SAMPLES] = [
        Card([(np.asarray(train_images[int(i)]), "") for i in chosen], [class_names[k]], side=STRIP)
        for k, chosen in enumerate(samples)
    ]
    return figures


def _explained(card: Card, predicted_map: np.ndarray, true_map: np.ndarray, predicted: str, true: str) -> Card:
    """The image, beside it the map of its predicted class over it, and on mistakes that of its true class."""
    ((image, _),) = card.images
    maps = [(predicted_map, predicted)] + ([] if card.right else [(true_map, true)])
    shown = [(heated(image, heat), f"for {name}" + ("" if heat.any() else ": nothing")) for heat, name in maps]
    return card._replace(images=[(image, ""), *shown])


def _certainty(share: float) -> str:
    """Small shares keep a digit: they are what tells a large loss from a larger one."""
    return percent(share, 0 if share >= 0.01 else 1) if share >= 0.0005 else "< 0.1 %"
