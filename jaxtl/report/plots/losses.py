"""The test images that cost the most: which they are, and how they look."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxtl.report.plots.cells import LETTERS, cells, class_line, frame
from jaxtl.report.plots.pictures import interpolation, rgb
from jaxtl.report.plots.style import RIGHT, WRONG, styled


@styled
def loss_grid(
    images: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
    losses: np.ndarray,
    class_names: Sequence[str],
    *,
    columns: int = 5,
) -> Figure:
    """Pictures with "True: x (3 %) / Prediction: y (97 %) / loss 3.51" above them, green where right, else red.

    Args:
      images: uint8 [N, H, W, C], C = 1 (grey) or 3.
      labels: int [N], true classes.
      predicted: int [N], predicted classes.
      probability: float [N], probability of the predicted class, in [0, 1].
      losses: float [N], cross-entropy; the probability of the true class is exp(-loss).
      class_names: K names.
      columns: pictures in a row.

    Raises:
      ValueError: there is no image, or the arrays differ in length.
    """
    lengths = {len(array) for array in (images, labels, predicted, probability, losses)}
    if lengths == {0} or len(lengths) > 1:
        raise ValueError(f"need as many images, labels, predictions and losses, at least one of each: {lengths}")
    side, gap, header = 1.8, 0.18, 4.6 * LETTERS / 72 + 0.06  # inches
    corners = [(i % columns * (side + gap), header + i // columns * (side + header + gap)) for i in range(len(images))]
    figure, places = cells(corners, side=side)
    for i, axes in enumerate(places):
        lines = (
            class_line("True: ", class_names[labels[i]], float(np.exp(-losses[i])), side=side),
            class_line("Prediction: ", class_names[predicted[i]], float(probability[i]), side=side),
            f"loss {losses[i]:.2f}" if losses[i] >= 0.005 else f"loss {losses[i]:.1g}",
        )
        color = RIGHT if labels[i] == predicted[i] else WRONG
        frame(axes, rgb(images[i]), interpolation=interpolation(images), color=color, title="\n".join(lines))
    return figure


def largest_losses(losses: np.ndarray, count: int, *, among: np.ndarray | None = None) -> np.ndarray:
    """The images with the largest losses, the largest first.

    Args:
      losses: float [N].
      count: how many to choose.
      among: bool [N], those that may be chosen; by default all.

    Returns:
      int64 [count or fewer], indices into the N images; of equal losses the first image comes first.
    """
    losses = np.asarray(losses)
    order = np.argsort(-losses, kind="stable")
    return (order if among is None else order[np.asarray(among)[order]])[:count]
