"""The pictures of a run's report, under the captions that the page knows."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxtl.data.decode import Undecodable, read_image
from jaxtl.data.stored import StoredImages
from jaxtl.report import plots
from jaxtl.report.comparison import Comparison, by_labels
from jaxtl.report.pictures import STRIP, Card, class_by_class, heated, largest, samples_of_classes
from jaxtl.report.text import percent
from jaxtl.train.class_maps import ClassMaps

# A figure with one of these captions stands in its section of the page; any other gets a section of its own.
COMPARISON, COMPARISON_CURVES, LABELS = "Comparison", "Comparison of curves", "Comparison by labels"
CURVES, LEARNING_RATE, CONFUSION = "Learning curves", "Learning rate", "Confusion matrix"
CALIBRATION = "Calibration"
MISTAKES, UNSURE, TYPICAL = "Largest losses of mistakes", "Right but unsure", "Right predictions"
CLASS_MAPS, SAMPLES = "Class-activation maps", "Sample images"
CAPTIONS = {COMPARISON, COMPARISON_CURVES, LABELS, CURVES, LEARNING_RATE, CONFUSION}
CAPTIONS |= {CALIBRATION, MISTAKES, UNSURE, TYPICAL, CLASS_MAPS, SAMPLES}

SHOWN_MISTAKES, SHOWN_UNSURE, SHOWN_TYPICAL, EXPLAINED, CLASSES = 12, 6, 12, 7, 20  # cards
Gallery = list[Card]


@dataclasses.dataclass(frozen=True)
class Findings:
    """Test images, and what the network took them for.

    Attributes:
      images: uint8 ``[M, H, W, C]``.
      labels: int ``[M]``, true classes.
      ids: ``[M]``, what each image is called.
      class_names: K names.
      predicted: int ``[M]``.
      probability: float ``[M]``, of the predicted class.
      losses: float ``[M]``, cross-entropy.
      confusion: int ``[K, K]``.
      originals: folder that names of files among ``ids`` are relative to, if there are files.
    """

    images: np.ndarray | StoredImages
    labels: np.ndarray
    ids: np.ndarray
    class_names: Sequence[str]
    predicted: np.ndarray
    probability: np.ndarray
    losses: np.ndarray
    confusion: np.ndarray
    originals: Path | None = None

    @property
    def right(self) -> np.ndarray:
        """bool ``[M]``, which predictions are right."""
        return self.labels == self.predicted

    def card(self, i: int) -> Card:
        """An image under its name, with the probabilities of its true and of its predicted class."""
        image, link, is_file = self.seen(i), "", self.ids.dtype.kind == "U"
        if self.originals and is_file and (file := self.originals / str(self.ids[i])).is_file():
            link = file.resolve().as_uri()
            with contextlib.suppress(Undecodable):
                image = read_image(file)
        true, predicted = self.class_names[self.labels[i]], self.class_names[self.predicted[i]]
        lines = [f"Predicted: {predicted} ({_certainty(self.probability[i])})"]
        if not self.right[i]:
            lines.insert(0, f"True: {true} ({_certainty(np.exp(-self.losses[i]))})")
        name = str(self.ids[i]) if is_file else f"image {self.ids[i]}"
        return Card([(image, "")], lines, name, bool(self.right[i]), link)

    def explained(self, i: int, predicted_map: np.ndarray, true_map: np.ndarray) -> Card:
        """The image as the network saw it, and over it the maps of its predicted and, on mistakes, its true class."""
        maps = {self.predicted[i]: predicted_map, self.labels[i]: true_map}
        image = self.seen(i)
        shown = [
            (heated(image, heat), f"for {self.class_names[k]}{'' if heat.any() else ': nothing'}")
            for k, heat in maps.items()
        ]
        return self.card(i)._replace(images=[(image, ""), *shown])

    def seen(self, i: int) -> np.ndarray:
        """An image as the data set has it, uint8 ``[H, W, C]``."""
        return np.asarray(self.images[int(i)])


def draw(
    *,
    tested: Findings,
    history: Sequence[Mapping[str, Any]],
    best_epoch: int,
    train_images: np.ndarray | StoredImages,
    train_labels: np.ndarray,
    comparison: Comparison | None,
    explain: Callable[[np.ndarray], ClassMaps | None],
) -> dict[str, Figure | Gallery]:
    """All figures of a run, caption -> figure or cards with images.

    Args:
      tested: the test.
      history: lines of ``metrics.jsonl``.
      best_epoch: the epoch that was tested.
      train_images: uint8 ``[N, H, W, C]``, for the samples of each class.
      train_labels: int ``[N]``.
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
    if len({line.get("learning_rate") for line in history}) > 1:  # a constant one is among the settings
        figures[LEARNING_RATE] = plots.learning_rate(history)
    figures[CONFUSION] = plots.confusion_matrices({"": tested.confusion}, tested.class_names)
    figures[CALIBRATION] = plots.reliability(tested.probability, tested.right)
    right = tested.right
    mistakes, unsure = largest(tested.losses, SHOWN_MISTAKES, ~right), largest(tested.losses, SHOWN_UNSURE, right)
    typical = class_by_class(tested.labels, np.setdiff1d(np.flatnonzero(right), unsure), SHOWN_TYPICAL)
    for caption, chosen in ((MISTAKES, mistakes), (UNSURE, unsure), (TYPICAL, typical)):
        if len(chosen):
            figures[caption] = [tested.card(i) for i in chosen]
    explained = np.concatenate([mistakes[:4], typical])[:EXPLAINED]
    if len(explained) and (maps := explain(explained)):
        found = zip(explained, maps.predicted, maps.true, strict=True)
        figures[CLASS_MAPS] = [tested.explained(*those) for those in found]
    samples = samples_of_classes(train_labels, min(len(tested.class_names), CLASSES))
    figures[SAMPLES] = [
        Card([(np.asarray(train_images[int(i)]), "") for i in chosen], [tested.class_names[k]], side=STRIP)
        for k, chosen in enumerate(samples)
    ]
    return figures


def _certainty(share: float) -> str:
    """Small shares keep a digit: they are what tells a large loss from a larger one."""
    return percent(share, 0 if share >= 0.01 else 1) if share >= 0.0005 else "< 0.1 %"
