"""The images themselves: samples of every class, and predictions."""

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.figure import Figure

from jaxtl.data.stored import StoredImages
from jaxtl.report.plots.style import INK, RIGHT, WRONG, fit_text, styled, text_width


@styled
def class_samples(
    images: np.ndarray | StoredImages,
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    per_class: int = 8,
    seed: int = 0,
) -> Figure:
    """Sample images of every class, one row a class; of more than 20 classes the first 20.

    Args:
      images: uint8 [N, H, W, C], C = 1 (grey) or 3.
      labels: int [N], classes.
      class_names: K names.
      per_class: pictures in a row; a class with fewer leaves its row short.
      seed: chooses the pictures.
    """
    shown = min(len(class_names), 20)
    height, width = images.shape[1:3]
    gap = max(1, round(0.06 * width))
    # One picture of pictures: a hundred and more separate axes would take seconds to lay out.
    wall = np.full((shown * (height + gap) - gap, per_class * (width + gap) - gap, 3), 255, np.uint8)
    generator = np.random.default_rng(seed)
    labels = np.asarray(labels)
    for row in range(shown):
        members = np.flatnonzero(labels == row)
        chosen = np.sort(generator.choice(members, min(per_class, len(members)), replace=False))
        for column, i in enumerate(chosen):
            y, x = row * (height + gap), column * (width + gap)
            wall[y : y + height, x : x + width] = rgb(images[i])

    tile = min(0.9, 8.4 / per_class)  # inches
    names = [fit_text(name, points=110, size=9) for name in class_names[:shown]]
    left, top = max(text_width(name, 9) for name in names) / 72 + 0.12, 0.3 if shown < len(class_names) else 0.02
    wide, tall = tile * per_class, tile * wall.shape[0] / wall.shape[1] * per_class
    figure = Figure(figsize=(left + wide + 0.02, top + tall + 0.02))
    # Placed by hand: the pictures then have exactly the proportions of the axes.
    width_in, height_in = figure.get_size_inches()
    axes = figure.add_axes((left / width_in, 0.02 / height_in, wide / width_in, tall / height_in))
    axes.imshow(wall, interpolation=interpolation(images), aspect="auto")
    axes.set_yticks(np.arange(shown) * (height + gap) + (height - 1) / 2, names)
    axes.set_xticks([])
    axes.tick_params(length=0, labelcolor=INK)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if shown < len(class_names):
        axes.set_title(f"The first {shown} of {len(class_names)} classes")
    return figure


@styled
def prediction_grid(
    images: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
    class_names: Sequence[str],
    *,
    rows: int = 4,
    columns: int = 5,
) -> Figure:
    """Pictures with "True: x / Prediction: y (97 %)" above them, green where right and red where wrong.

    Args:
      images: uint8 [N, H, W, C], C = 1 (grey) or 3; the first rows * columns are shown.
      labels: int [N], true classes.
      predicted: int [N], predicted classes.
      probability: float [N], probability of the predicted class, in [0, 1].
      class_names: K names.
      rows: most rows of the grid; rows and columns that would stay empty are left out.
      columns: most columns of the grid.

    Raises:
      ValueError: there is no image, or the arrays differ in length.
    """
    if not len(images) == len(labels) == len(predicted) == len(probability) > 0:
        lengths = len(images), len(labels), len(predicted), len(probability)
        raise ValueError(f"need as many images, labels, predicted classes and probabilities, at least one: {lengths}")
    count = min(len(images), rows * columns)
    columns = min(columns, count)
    rows = ceil(count / columns)
    cell, size = 1.95, 8.0  # inches, points
    figure = Figure(figsize=(cell * columns, (cell + 0.15) * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.07)  # type: ignore[call-arg, union-attr]
    grid = figure.subplots(rows, columns, squeeze=False)
    for i, axes in enumerate(grid.flat):
        if i >= count:
            axes.set_axis_off()
            continue
        color = RIGHT if labels[i] == predicted[i] else WRONG
        axes.imshow(rgb(images[i]), interpolation=interpolation(images))
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set(visible=True, color=color, linewidth=2)
        certainty = f" ({100 * probability[i]:.0f} %)"
        room = 72 * cell - 9
        true_line = "True: " + fit_text(class_names[labels[i]], points=room - text_width("True: ", size), size=size)
        prediction = fit_text(
            class_names[predicted[i]], points=room - text_width("Prediction: " + certainty, size), size=size
        )
        title = f"{true_line}\nPrediction: {prediction}{certainty}"
        axes.set_title(title, loc="center", color=color, fontsize=size, fontweight="normal", linespacing=1.35, pad=5)
    return figure


def choose_predictions(labels: np.ndarray, predicted: np.ndarray, probability: np.ndarray, count: int) -> np.ndarray:
    """Choose which predictions to show: the most confident mistakes, then right ones spread over the classes.

    Mistakes take up to half of the places, so that the grid shows both; the other kind fills places that would stay
    empty. Right ones are dealt class by class, in the order of the data set: they are typical, not the easiest.

    Args:
      labels: int [N], true classes.
      predicted: int [N], predicted classes.
      probability: float [N], probability of the predicted class.
      count: how many to choose.

    Returns:
      int64 [min(count, N)], distinct indices into the N examples.
    """
    labels, predicted, probability = np.asarray(labels), np.asarray(predicted), np.asarray(probability)
    wrong = np.flatnonzero(labels != predicted)
    wrong = wrong[np.argsort(-probability[wrong], kind="stable")]
    right = np.flatnonzero(labels == predicted)
    # Rank of an example among the right ones of its class; sorting by it deals one of each class, then a second …
    by_class = right[np.argsort(labels[right], kind="stable")]
    _, first, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(by_class)) - np.repeat(first, sizes)
    right = by_class[np.argsort(rank, kind="stable")]
    mistakes = min(len(wrong), max(ceil(count / 2), count - len(right)))
    return np.concatenate([wrong[:mistakes], right[: max(count - mistakes, 0)]])[:count]


def rgb(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 1 or 3] -> uint8 [H, W, 3]; grey stays grey."""
    return np.broadcast_to(image, (*image.shape[:2], 3))


def interpolation(images: np.ndarray | StoredImages) -> str:
    """Small pictures keep their pixels; large ones are averaged when they shrink."""
    return "nearest" if max(images.shape[1:3]) <= 64 else "antialiased"
