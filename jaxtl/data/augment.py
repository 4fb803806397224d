"""Augmentation and preprocessing as pure functions ``(key, images) -> images``, to run on the device inside jit.

A transform takes uint8 or float images ``[B, H, W, C]`` and a key; those that draw nothing ignore the key, so that
one signature serves all and ``compose`` needs no cases.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

Transform = Callable[[jax.Array, jax.Array], jax.Array]
Border = Literal["black", "reflect"]
BORDERS: tuple[Border, ...] = get_args(Border)


def compose(*transforms: Transform) -> Transform:
    """The transforms one after another, each with a key of its own; none at all is the identity."""

    def apply(key: jax.Array, images: jax.Array) -> jax.Array:
        for i, transform in enumerate(transforms):
            images = transform(jax.random.fold_in(key, i), images)
        return images

    return apply


def horizontal_flip(probability: float = 0.5) -> Transform:
    """Mirror each image left to right with the given probability; dtype and range are kept."""
    return _flip(2, probability)


def vertical_flip(probability: float = 0.5) -> Transform:
    """Mirror each image top to bottom with the given probability; dtype and range are kept."""
    return _flip(1, probability)


def _flip(axis: int, probability: float) -> Transform:
    def apply(key: jax.Array, images: jax.Array) -> jax.Array:
        chosen = jax.random.bernoulli(key, probability, images.shape[:1])
        return jnp.where(chosen[:, None, None, None], jnp.flip(images, axis), images)

    return apply


def quarter_turns() -> Transform:
    """Turn each square image by 0, 90, 180 or 270 degrees, equally likely; dtype and range are kept."""

    def apply(key: jax.Array, images: jax.Array) -> jax.Array:
        turns = jax.random.randint(key, (len(images), 1, 1, 1), 0, 4)
        half = jnp.where(turns >= 2, images[:, ::-1, ::-1], images)
        return jnp.where(turns % 2 == 1, jnp.rot90(half, axes=(1, 2)), half)

    return apply


def pad_and_crop(padding: int, border: Border = "black") -> Transform:
    """Pad every side with ``padding`` pixels and crop back at a random place.

    Pixels outside are 0 (``black``, before normalisation: ``RandomCrop(size, padding)`` of the CIFAR recipes) or mirror
    those inside, the outermost not repeated (``reflect``). Each of the ``(2 * padding + 1) ** 2`` places is equally
    likely; dtype and range are kept.
    """

    def apply(key: jax.Array, images: jax.Array) -> jax.Array:
        B, H, W, C = images.shape
        mode = "constant" if border == "black" else border
        padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode=mode)
        corners = jax.random.randint(key, (B, 2), 0, 2 * padding + 1)

        def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (H, W, C))

        return jax.vmap(crop)(padded, corners)

    return apply


def resize(height: int, width: int) -> Transform:
    """Bilinear resize, antialiased when shrinking; uint8 or float in, float32 out, range kept.

    The filter is Pillow's ``BILINEAR`` (a triangle as wide as the reduction), which torchvision's ``Resize`` shares;
    pixels agree with Pillow's within one grey level on average, as Pillow rounds after each axis and this does not.
    """

    def apply(_key: jax.Array, images: jax.Array) -> jax.Array:
        B, H, W, C = images.shape
        images = images.astype(jnp.float32)
        if (height, width) == (H, W):
            return images
        return jax.image.resize(images, (B, height, width, C), "bilinear", antialias=True)

    return apply


def normalise(mean: Sequence[float], std: Sequence[float]) -> Transform:
    """``(images / 255 - mean) / std`` per channel; range 0..255 in, float32 out; one value serves all channels."""

    def apply(_key: jax.Array, images: jax.Array) -> jax.Array:
        scale = 1 / (255 * jnp.asarray(std, jnp.float32))
        shift = jnp.asarray(mean, jnp.float32) / jnp.asarray(std, jnp.float32)
        return images.astype(jnp.float32) * scale - shift

    return apply


def denormalise(images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """The inverse of ``normalise`` as pixels to look at: float in, uint8 of the same shape out."""
    return np.clip(np.round(255 * (np.asarray(images) * np.asarray(std) + np.asarray(mean))), 0, 255).astype(np.uint8)


def channels(count: int) -> Transform:
    """Grey to RGB (``count`` 3) by repeating, RGB to grey (1) by ITU-R 601 luma; float32 out, range kept.

    Images that have ``count`` channels already are left as they are, dtype and all.
    """

    def apply(_key: jax.Array, images: jax.Array) -> jax.Array:
        if images.shape[-1] == count:
            return images
        images = images.astype(jnp.float32)
        if count == 1:
            return images @ jnp.array([[0.299], [0.587], [0.114]], jnp.float32)
        return jnp.repeat(images, count, axis=-1)

    return apply
