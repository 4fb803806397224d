"""The pictures of a run's report, under the captions that the page knows."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxtl.config.data import image_folder
from jaxtl.data.augment import denormalise
from jaxtl.data.dataset import Dataset
from jaxtl.data.decode import Undecodable, read_image
from jaxtl.report import plots
from jaxtl.report.comparison import Comparison, by_labels
from jaxtl.report.pictures import STRIP, Card, class_by_class, heated, largest, samples_of_classes
from jaxtl.report.run import Trained
from jaxtl.report.text import percent
from jaxtl.train.class_maps import class_maps
from jaxtl.train.evaluate import Evaluation
from jaxtl.train.optimizer import learning_rates
from jaxtl.train.task import Task

# The page finds its figures by these captions.
COMPARISON, COMPARISON_CURVES, LABELS = "Comparison", "Comparison of curves", "Comparison by labels"
CURVES, LEARNING_RATE, CONFUSION = "Learning curves", "Learning rate", "Confusion matrix"
CALIBRATION, REPEATED = "Calibration", "Equal images"
MISTAKES, UNSURE, TYPICAL = "Largest losses of mistakes", "Right but unsure", "Right predictions"
CLASS_MAPS, SAMPLES, AUGMENTED = "Class-activation maps", "Sample images", "Augmented images"

# Cards of each gallery.
SHOWN_MISTAKES, SHOWN_UNSURE, SHOWN_TYPICAL, EXPLAINED, CLASSES, SHOWN_REPEATED = 12, 6, 12, 7, 20, 12
AUGMENTED_CLASSES, DRAWS = 8, 7  # cards of augmented images, and pictures beside the image itself
Gallery = list[Card]


@dataclasses.dataclass(frozen=True)
class Findings:
    """Test images, and what the network predicted for them."""

    dataset: Dataset  # M images
    found: Evaluation
    originals: Path | None  # folder that names of files among the ids are relative to, if there are files

    @property
    def right(self) -> np.ndarray:
        """bool ``[M]``, which predictions are right."""
        return self.dataset.labels == self.found.predicted

    def card(self, i: int) -> Card:
        """An image under its name, with the probabilities of its true and of its predicted class."""
        image, name, link = self.original(np.asarray(self.dataset.images[int(i)]), self.dataset.ids[i])
        true, predicted = (self.dataset.class_names[of[i]] for of in (self.dataset.labels, self.found.predicted))
        lines = [f"Predicted: {predicted} ({_certainty(self.found.probability[i])})"]
        if not self.right[i]:
            lines.insert(0, f"True: {true} ({_certainty(np.exp(-self.found.losses[i]))})")
        return Card([(image, "")], lines, name, bool(self.right[i]), link)

    def original(self, image: np.ndarray, called: Any) -> tuple[np.ndarray, str, str]:
        """An image in its own size where it is a file that is still there, its name, and its address."""
        if self.dataset.ids.dtype.kind != "U":
            return image, f"image {called}", ""
        link = ""
        with contextlib.suppress(Undecodable, OSError):  # OSError: the system takes no such name
            if self.originals and (file := self.originals / str(called)).is_file():
                link = file.resolve().as_uri()
                image = read_image(file)
        return image, str(called), link

    def explained(self, i: int, predicted_map: np.ndarray, true_map: np.ndarray) -> Card:
        """The image as the network saw it, and over it the maps of its predicted and, on mistakes, its true class."""
        image = np.asarray(self.dataset.images[int(i)])
        shown = [(image, "")]
        for k, heat in {self.found.predicted[i]: predicted_map, self.dataset.labels[i]: true_map}.items():
            shown.append((heated(image, heat), f"for {self.dataset.class_names[k]}{'' if heat.any() else ': nothing'}"))
        return self.card(i)._replace(images=shown)

    def repeated(self, group: Sequence[Mapping[str, Any]], parts: Mapping[str, Dataset | None]) -> Card:
        """Equal images, once, with the part and the class of each; see ``jaxtl.data.overview.overview``."""
        first = group[0]
        part: Any = parts[first["part"]]
        image, name, link = self.original(np.asarray(part.images[first["index"]]), first["image"])
        lines = list(dict.fromkeys(f"{each['part'].capitalize()}: {each['class']}" for each in group))
        return Card([(image, "")], lines, name, link=link)


def draw(
    *, config: Mapping[str, Any], trained: Trained, found: Evaluation, comparison: Comparison | None
) -> dict[str, Figure | Gallery]:
    """All figures of a run, caption -> figure or cards with images.

    Args:
      config: of the run; it says where files among the images lie.
      trained: what was trained, and on which images.
      found: its test.
      comparison: the run beside its baselines; None where it stands alone.
    """
    task, history, data = trained.task, trained.fitted.history, config["data"]
    tested = Findings(trained.test, found, image_folder(data))
    figures: dict[str, Figure | Gallery] = {}
    if comparison:
        runs = comparison.runs
        figures[COMPARISON] = plots.accuracy_comparison(runs)
        if series := by_labels(runs):
            figures[LABELS] = plots.accuracy_by_labels(series)
        if plots.accuracy_metrics(histories := {run.name: run.history for run in runs}):
            figures[COMPARISON_CURVES] = plots.overlaid_curves(histories)
    if history:
        figures[CURVES] = plots.curves(history, best_epoch=trained.fitted.best_epoch)
    if len(np.unique(rates := step_rates(task, history))) > 1:  # a constant one is among the settings
        figures[LEARNING_RATE] = plots.learning_rate(history, rates)
    figures[CONFUSION] = plots.confusion_matrices({"": found.confusion}, tested.dataset.class_names)
    before = dataclasses.replace(found, temperature=1).probability
    figures[CALIBRATION] = plots.reliability(found.probability, tested.right, before)
    galleries, chosen = _galleries(tested)
    figures |= galleries
    if len(chosen) and (maps := explain(trained, found, chosen)) is not None:
        figures[CLASS_MAPS] = [tested.explained(*of) for of in zip(chosen, *maps, strict=True)]
    train, classes = task.train, tested.dataset.class_names
    figures[SAMPLES] = [
        Card([(np.asarray(train.images[int(i)]), "") for i in samples], [classes[k]], side=STRIP)
        for k, samples in enumerate(samples_of_classes(train.labels, min(len(classes), CLASSES)))
    ]
    if repeated := trained.data["repeated"][:SHOWN_REPEATED]:
        parts = {"training": train, "validation": task.validation, "test": trained.test}
        figures[REPEATED] = [tested.repeated(group, parts) for group in repeated]
    return figures | augmented(task, data["mean"], data["std"])


def augmented(task: Task, mean: Sequence[float], std: Sequence[float]) -> dict[str, list[Card]]:
    """An image of each class, as it is and as the last phase that augments draws it; nothing where no phase does.

    Args:
      task: its plan, and the images that it trains on.
      mean: of the normalisation that ``task.preprocess`` ends with, which is undone.
      std: likewise.
    """
    phase = next((phase for phase in reversed(task.plan) if phase.augments), None)
    if phase is None:
        return {}
    train, names = task.train, task.train.class_names
    transform, mix = phase.transform(task.preprocess), phase.mix()
    chosen = np.concatenate(samples_of_classes(train.labels, min(len(names), AUGMENTED_CLASSES), per_class=1))
    images, labels = np.asarray(train.images[chosen]), train.labels[chosen]

    @jax.jit
    def draw(key: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        for_images, for_mix = jax.random.split(key)
        batch, targets = transform(for_images, images), jax.nn.one_hot(labels, len(names))
        return mix(for_mix, batch, targets) if mix else (batch, targets)

    drawn = [draw(key, images) for key in jax.random.split(jax.random.key(task.seed), DRAWS)]
    cards = []
    for i, label in enumerate(labels):
        views = [(denormalise(batch[i], mean, std), _shares(targets[i], names)) for batch, targets in drawn]
        cards.append(Card([(images[i], "as it is"), *views], [names[label]], side=STRIP))
    return {AUGMENTED: cards}


def _shares(target: np.ndarray, names: Sequence[str]) -> str:
    """The classes of a mixed image, the heavier first; nothing for an image of its own."""
    classes = [k for k in np.argsort(-target, kind="stable") if target[k] > 0]
    return ", ".join(f"{percent(float(target[k]), 0)} {names[k]}" for k in classes) if len(classes) > 1 else ""


def explain(trained: Trained, found: Evaluation, chosen: np.ndarray) -> np.ndarray | None:
    """Class-activation maps of a few test images, int ``[B]``, for the predicted and the true class of each.

    They are float32 ``[2, B, h, w]``; ``None`` where the network has none.
    """
    variables = jax.device_get(trained.fitted.variables)  # the other processes draw nothing
    images, classes = np.asarray(trained.test.images[chosen]), np.stack([found.predicted, found.labels])[:, chosen]
    return class_maps(trained.task.model, variables, images, classes, trained.task.preprocess)


def step_rates(task: Task, history: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The learning rate of every step of the history, in its order: float32 [S]."""
    steps = task.steps_per_epoch
    epochs = Counter(line["phase_index"] for line in history)
    rates = [learning_rates(phase, steps)[: steps * epochs[i]] for i, phase in enumerate(task.plan)]
    return np.concatenate([*rates, np.zeros(0, np.float32)])


def _galleries(tested: Findings) -> tuple[dict[str, Gallery], np.ndarray]:
    """Mistakes and right predictions, none twice; and the test images that are to be explained, int [B], B <= 8."""
    right = tested.right
    mistakes = largest(tested.found.losses, SHOWN_MISTAKES, ~right)
    unsure = largest(tested.found.losses, SHOWN_UNSURE, right)
    typical = class_by_class(tested.dataset.labels, np.setdiff1d(np.flatnonzero(right), unsure), SHOWN_TYPICAL)
    chosen = {MISTAKES: mistakes, UNSURE: unsure, TYPICAL: typical}
    galleries = {caption: [tested.card(i) for i in those] for caption, those in chosen.items() if len(those)}
    return galleries, np.concatenate([mistakes[:4], typical])[:EXPLAINED]


def _certainty(share: float) -> str:
    """Small shares keep a digit: they are what tells a large loss from a larger one."""
    return percent(share, 0 if share >= 0.01 else 1) if share >= 0.0005 else "< 0.1 %"
