"""Class-activation maps over their images."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from jaxtl.report.plots.cells import LETTERS, cells, class_line, frame
from jaxtl.report.plots.pictures import interpolation, rgb
from jaxtl.report.plots.style import MUTED, RIGHT, WRONG, styled

COLORS = "viridis"  # equal steps of heat are equal steps to the eye, also to a colour-blind one
STRENGTH = 0.6  # of the colours over the image


@styled
def class_map_grid(
    images: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
    predicted_maps: np.ndarray,
    true_maps: np.ndarray,
    class_names: Sequence[str],
    *,
    stage: str,
) -> Figure:
    """Each image, beside it the map of its predicted class over it, and on mistakes that of its true class.

    Mistakes and right predictions take turns. Below the maps the image is grey, so that all colour is heat.

    Args:
      images: uint8 [N, H, W, C], C = 1 (grey) or 3.
      labels: int [N], true classes.
      predicted: int [N], predicted classes.
      probability: float [N], probability of the predicted class, in [0, 1].
      predicted_maps: float [N, h, w] in [0, 1], for the predicted classes; stretched over the images.
      true_maps: likewise for the true classes.
      class_names: K names.
      stage: whose maps they are, for the legend.

    Raises:
      ValueError: there is no image, or the arrays differ in length.
    """
    lengths = {len(array) for array in (images, labels, predicted, probability, predicted_maps, true_maps)}
    if lengths == {0} or len(lengths) > 1:
        raise ValueError(f"need as many images, labels, predictions and maps, at least one of each: {lengths}")
    side, foot = 1.8, 0.42  # inches
    shown = [(i, heat) for i in _in_turn(labels != predicted) for heat in _panels(labels[i] != predicted[i])]
    figure, places = cells(_corners([heat for _, heat in shown], side), side=side, foot=foot, least_width=5.4)
    smooth = interpolation(images)
    for axes, (i, heat) in zip(places, shown, strict=True):
        color = RIGHT if heat == "true" or labels[i] == predicted[i] else WRONG
        if heat == "none":
            title = class_line("True: ", class_names[labels[i]], side=side)
            frame(axes, rgb(images[i]), interpolation=smooth, color=color, title=title)
            continue
        if heat == "predicted":
            title = class_line("Prediction: ", class_names[predicted[i]], float(probability[i]), side=side)
        else:
            title = class_line("For ", class_names[labels[i]], side=side)
        frame(axes, _grey(images[i]), interpolation=smooth, color=color, title=title)
        values = (predicted_maps if heat == "predicted" else true_maps)[i]
        height, width = images.shape[1:3]
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        axes.imshow(values, cmap=COLORS, vmin=0, vmax=1, alpha=STRENGTH, extent=extent, interpolation="bilinear")
        if not values.any():
            axes.text(0.5, 0.5, "nothing", transform=axes.transAxes, ha="center", va="center", color="white")
    height, width = predicted_maps.shape[1:]
    _legend(figure, f"{stage}, {height} x {width}, stretched over the image", foot)
    return figure


def _panels(mistaken: bool) -> tuple[str, ...]:
    return ("none", "predicted", "true") if mistaken else ("none", "predicted")


def _in_turn(mistaken: np.ndarray) -> Iterator[int]:
    """Mistakes and right ones alternately, each in their order."""
    for pair in zip_longest(np.flatnonzero(mistaken), np.flatnonzero(~mistaken)):
        yield from (int(i) for i in pair if i is not None)


def _corners(panels: Sequence[str], side: float) -> list[tuple[float, float]]:
    """Places of the panels: what belongs to one image stays together, and five panels fill a row."""
    inside, between, header, most = 0.06, 0.28, 1.5 * LETTERS / 72 + 0.12, 5
    starts = [i for i, panel in enumerate(panels) if panel == "none"]
    corners: list[tuple[float, float]] = []
    x, row, filled = 0.0, 0, 0
    for start, end in zip(starts, [*starts[1:], len(panels)], strict=True):
        if filled + end - start > most:
            x, row, filled = 0.0, row + 1, 0
        corners += [(x + k * (side + inside), header + row * (side + header + 0.1)) for k in range(end - start)]
        x += (end - start) * (side + inside) - inside + between
        filled += end - start
    return corners


def _grey(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 1 or 3] -> its luma (ITU-R BT.601) as uint8 [H, W, 3]."""
    luma = np.asarray(rgb(image), np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return rgb(np.round(luma).astype(np.uint8)[..., None])


def _legend(figure: Figure, text: str, foot: float) -> None:
    """From nothing to the most, in the colours as they come out over a middle grey."""
    width, height = figure.get_size_inches()
    middle = (foot - 0.18) / 2 / height
    axes = figure.add_axes((0.6 / width, middle, 1.2 / width, 0.12 / height), xticks=[], yticks=[])
    strip = matplotlib.colormaps[COLORS](np.linspace(0, 1, 64))[None, :, :3] * STRENGTH + 0.5 * (1 - STRENGTH)
    axes.imshow(strip, aspect="auto")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    centre = middle + 0.06 / height
    for x, word in ((0.04, "nothing"), (1.86, f"most      {text}")):
        figure.text(x / width, centre, word, va="center_baseline", color=MUTED, fontsize=LETTERS)
