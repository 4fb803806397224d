"""The images themselves: which are shown in a report, and how they become part of a page."""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageOps

SIDE = 164  # of a picture on the page, in CSS pixels
STRIP = 118  # of a picture in a row of samples
SMALL = 64  # a picture of at most so many pixels keeps them as they are
HEAT, STRENGTH = "viridis", 0.6  # equal steps of heat are equal steps to the eye, also to a colour-blind one


class Card(NamedTuple):
    """One or several pictures with what is to say of them."""

    images: Sequence[tuple[np.ndarray, str]]  # (uint8 [H, W, 1 or 3], caption) of each
    lines: Sequence[str]  # what is to say of them
    name: str = ""  # of the image, as its data set has it
    right: bool | None = None  # whether the prediction that they show is right, where there is one
    link: str = ""  # address of the original
    side: int = SIDE  # of a picture on the page, in CSS pixels

    def sources(self) -> list[tuple[str, str, bool]]:
        """(data URI, caption, whether its pixels are to be seen as they are) of each picture."""
        return [(data_uri(image, self.side), said, max(image.shape[:2]) <= SMALL) for image, said in self.images]


def data_uri(image: np.ndarray, side: int) -> str:
    """A picture as a part of the page: whole where it is small, else with the pixels that dense screens show."""
    shown = _picture(image)
    kind = "png" if max(shown.size) <= SMALL else "jpeg"
    shown.thumbnail((2 * side, 2 * side))
    buffer = BytesIO()
    shown.save(buffer, kind, **({"quality": 85} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def wall(cards: Sequence[Card], columns: int = 8, side: int = 128) -> np.ndarray:
    """All pictures of some cards as one, uint8 [H, W, 3], for viewers that show pictures alone."""
    tiles = [image for card in cards for image, _ in card.images]
    sheet = Image.new("RGB", (columns * side, -(-len(tiles) // columns) * side), "white")
    for i, image in enumerate(tiles):
        how = Image.Resampling.NEAREST if max(image.shape[:2]) <= SMALL else Image.Resampling.BICUBIC
        tile = ImageOps.contain(_picture(image), (side - 4, side - 4), how)
        sheet.paste(tile, (i % columns * side, i // columns * side))
    return np.asarray(sheet)


def heated(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image with a map over it: below the map it is grey, so that all colour is heat.

    Args:
      image: uint8 [H, W, 1 or 3].
      heat: float [h, w] in [0, 1]; stretched over the image.

    Returns:
      uint8 [H', W', 3], large enough for a smooth map.
    """
    grey = _picture(image).convert("L")
    scale = max(1, SIDE // max(grey.size))
    size = (grey.width * scale, grey.height * scale)
    smooth = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    colors = Image.fromarray(matplotlib.colormaps[HEAT](np.asarray(smooth), bytes=True)).convert("RGB")
    below = grey.resize(size, Image.Resampling.NEAREST).convert("RGB")
    return np.asarray(Image.blend(below, colors, STRENGTH))


def samples_of_classes(labels: np.ndarray, classes: int, per_class: int = 8) -> list[np.ndarray]:
    """Of each class the positions of up to ``per_class`` images, in their order; drawn without replacement."""
    generator, members = np.random.default_rng(0), [np.flatnonzero(labels == k) for k in range(classes)]
    return [np.sort(generator.choice(those, min(per_class, len(those)), replace=False)) for those in members]


def class_by_class(labels: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    """Up to ``count`` of the images ``among`` int [M], dealt one of each class, then a second: typical, not easiest."""
    by_class = among[np.argsort(labels[among], kind="stable")]
    _, first, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.arange(len(by_class)) - np.repeat(first, sizes)
    return by_class[np.argsort(turn, kind="stable")][:count]


def largest(losses: np.ndarray, count: int, among: np.ndarray) -> np.ndarray:
    """Positions of the largest losses of those ``among`` bool [N], the largest first; of equal ones the first."""
    order = np.argsort(-losses, kind="stable")
    return order[among[order]][:count]


def rgb(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 1 or 3] -> uint8 [H, W, 3]; grey stays grey."""
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(rgb(image)))
