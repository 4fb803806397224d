"""Mixup and CutMix: two images of a batch in one, with soft labels to match.

Zhang et al. 2018, https://arxiv.org/abs/1710.09412; Yun et al. 2019, https://arxiv.org/abs/1905.04899. As in
torchvision, an image is mixed with the one before it in the batch; its share is drawn image by image.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxtl.data.boxes import Boxes

Mix = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def random_mix(mixup: float, cutmix: float) -> Mix:
    """The function ``(key, images, targets) -> (images, targets)`` that mixes each image with another.

    Args:
      mixup: alpha of mixup, or 0: an image's share is drawn from Beta(alpha, alpha).
      cutmix: alpha of CutMix, or 0. Of both, each is drawn for half of the images.

    Images are float ``[B, H, W, C]``; targets, float ``[B, K]``, sum to 1 before and after.
    """

    def apply(key: jax.Array, images: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        choice, portion, place = jax.random.split(key, 3)
        B, H, W, _ = images.shape
        cuts = jax.random.bernoulli(choice, 0.5, (B,))
        alpha = jnp.where(cuts, cutmix, mixup) if mixup and cutmix else mixup or cutmix
        share = jax.random.beta(portion, alpha, alpha, (B,))
        if not cutmix:
            return mix(images, targets, share[:, None, None])
        left = ~cut_boxes(place, share, (H, W)).covers(H, W)
        return mix(images, targets, jnp.where(cuts[:, None, None], left, share[:, None, None]) if mixup else left)

    return apply


def cut_boxes(key: jax.Array, share: jax.Array, size: tuple[int, int]) -> Boxes:
    """Rectangles about random pixels that leave a share, float ``[B]``, of an image; the border cuts them off."""
    sides = []
    for length, side_key in zip(size, jax.random.split(key), strict=True):
        centre = jax.random.randint(side_key, share.shape, 0, length)
        reach = (0.5 * jnp.sqrt(1 - share) * length).astype(jnp.int32)
        start = jnp.maximum(centre - reach, 0)
        sides.append((start, jnp.minimum(centre + reach, length) - start))
    (top, height), (left, width) = sides
    return Boxes(top, left, height, width)


def mix(images: jax.Array, targets: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each image mixed with the one before it by its own weight at each pixel, float or bool ``[B, H or 1, W or 1]``.

    The weight of its target, float ``[B, K]``, is the mean of these.
    """
    weights = weights.astype(images.dtype)[..., None]
    share = weights.mean((1, 2))
    mixed = weights * images + (1 - weights) * jnp.roll(images, 1, axis=0)
    return mixed, share * targets + (1 - share) * jnp.roll(targets, 1, axis=0)
