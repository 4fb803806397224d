"""Augmentation by random rectangles, drawn as torchvision draws them: random resized crop and random erasing."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxtl.data.augment import Transform

ATTEMPTS = 10  # draws of a rectangle, of which the first that fits is taken
ERASED_AREA, ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)  # of torchvision's RandomErasing


class Boxes(NamedTuple):
    """A rectangle of each image, in whole pixels: int32 ``[B]`` each."""

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array

    def covers(self, height: int, width: int) -> jax.Array:
        """Which pixels of an image lie inside: bool ``[B, height, width]``."""
        y, x = jnp.arange(height)[:, None] - self.top[:, None, None], jnp.arange(width) - self.left[:, None, None]
        return (y >= 0) & (y < self.height[:, None, None]) & (x >= 0) & (x < self.width[:, None, None])


def random_resized_crop(least_area: float, most_ratio: float = 4 / 3) -> Transform:
    """Crop a random rectangle and resize it to the size of the image; dtype is kept, range 0..255.

    The same as torchvision's ``RandomResizedCrop(size, (least_area, 1), (1 / most_ratio, most_ratio))``, after Szegedy
    et al. 2015, https://arxiv.org/abs/1409.4842.
    """

    def apply(key: jax.Array, images: jax.Array) -> jax.Array:
        return resized_crop(images, draw_boxes(key, images.shape[:3], (least_area, 1), (1 / most_ratio, most_ratio)))

    return apply


def random_erasing(probability: float) -> Transform:
    """Set a random rectangle of each image to 0, with the given probability; dtype is kept.

    The same as torchvision's ``RandomErasing``, after Zhong et al. 2020, https://arxiv.org/abs/1708.04896.
    """

    def apply(key: jax.Array, images: jax.Array) -> jax.Array:
        choice, place = jax.random.split(key)
        chosen = jax.random.bernoulli(choice, probability, (len(images), 1, 1))
        boxes = draw_boxes(place, images.shape[:3], ERASED_AREA, ERASED_RATIO, smaller=True)
        erased = chosen & boxes.covers(*images.shape[1:3])
        return jnp.where(erased[..., None], jnp.zeros((), images.dtype), images)

    return apply


def draw_boxes(
    key: jax.Array,
    shape: tuple[int, ...],
    area: tuple[float, float],
    ratio: tuple[float, float],
    *,
    smaller: bool = False,
) -> Boxes:
    """Rectangles in images ``(B, H, W)`` of a uniform share of the area and a log-uniform ratio of height to width.

    A rectangle for which no attempt fits is the largest that the ratio allows, in the middle; or empty, if all have to
    be ``smaller`` than the image both ways.
    """
    B, H, W = shape
    for_area, for_ratio, for_top, for_left = jax.random.split(key, 4)
    areas = H * W * jax.random.uniform(for_area, (B, ATTEMPTS), minval=area[0], maxval=area[1])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = jnp.exp(jax.random.uniform(for_ratio, (B, ATTEMPTS), minval=low, maxval=high))
    heights = jnp.round(jnp.sqrt(areas * ratios)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(areas / ratios)).astype(jnp.int32)
    fits = (heights > 0) & (heights <= H - smaller) & (widths > 0) & (widths <= W - smaller)
    first = jnp.arange(B), fits.argmax(1)
    otherwise = (0, 0) if smaller else (min(H, round(W * ratio[1])), min(W, round(H / ratio[0])))
    height, width = heights[first], widths[first]
    top = jax.random.randint(for_top, (B,), 0, H - height + 1)
    left = jax.random.randint(for_left, (B,), 0, W - width + 1)
    middle = ((H - otherwise[0]) // 2, (W - otherwise[1]) // 2)
    pairs = zip((top, left, height, width), (*middle, *otherwise), strict=True)
    return Boxes(*(jnp.where(fits.any(1), drawn, instead) for drawn, instead in pairs))


def resized_crop(images: jax.Array, boxes: Boxes) -> jax.Array:
    """The rectangles of images ``[B, H, W, C]``, resized to the images' size: bilinear, antialiased, uint8 rounded.

    ``jax.image.scale_and_translate`` would let the filter see pixels beside the rectangle.
    """
    rows = _resizing(boxes.top, boxes.height, images.shape[1])
    columns = _resizing(boxes.left, boxes.width, images.shape[2])
    pixels = images.astype(jnp.float32)
    resized = jnp.einsum("byh,bxw,bhwc->byxc", rows, columns, pixels, precision="highest")
    return (jnp.round(resized) if images.dtype == jnp.uint8 else resized).astype(images.dtype)


def _resizing(start: jax.Array, length: jax.Array, size: int) -> jax.Array:
    """The matrices float32 ``[B, size, size]`` that make ``size`` pixels of the ``length`` pixels from ``start`` on."""
    start, length, pixel = start[:, None, None], length[:, None, None], jnp.arange(size)
    scale = length / size
    centre = start + (pixel[:, None] + 0.5) * scale - 0.5
    weights = jnp.maximum(1 - jnp.abs(pixel - centre) / jnp.maximum(scale, 1), 0)
    weights = jnp.where((pixel >= start) & (pixel < start + length), weights, 0)
    return weights / weights.sum(-1, keepdims=True)
