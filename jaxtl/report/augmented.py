"""The contact sheet of augmented training images: what the network sees."""

from collections.abc import Sequence

import jax
import numpy as np

from jaxtl.data.augment import denormalise
from jaxtl.report.pictures import STRIP, Card, samples_of_classes
from jaxtl.report.text import percent
from jaxtl.train.task import Task

AUGMENTED = "Augmented images"  # the caption
CLASSES, DRAWS = 8, 7  # cards, and pictures beside the image itself


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
    chosen = np.concatenate(samples_of_classes(train.labels, min(len(names), CLASSES), per_class=1))
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
