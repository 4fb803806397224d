"""Test-time augmentation: the class scores of an image as the mean over views of it."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

# "mirror": the image and its mirror image. "mirror+shift": these, and with as much weight both of the image moved by
# one pixel to the upper left and to the lower right, as cifar10-airbench does (https://arxiv.org/abs/2404.00498).
TestViews = Literal["", "mirror", "mirror+shift"]
TEST_VIEWS: tuple[TestViews, ...] = get_args(TestViews)


def views_of(images: jax.Array, views: TestViews) -> list[tuple[jax.Array, float]]:
    """The views of each image, each with its weight.

    Args:
      images: ``[B, H, W, C]``.
      views: which; "" is the image alone.

    Returns:
      Pairs of ``[B, H, W, C]`` and a weight; these sum to 1. The border of a shifted image is reflected.
    """
    seen, weights = [images], [1.0]
    if views == "mirror+shift":
        H, W = images.shape[1:3]
        wider = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        seen += [wider[:, :H, :W], wider[:, 2:, 2:]]
        weights = [0.5, 0.25, 0.25]
    if views:
        seen += [view[:, :, ::-1] for view in seen]
        weights = [weight / 2 for weight in weights] * 2
    return list(zip(seen, weights, strict=True))
