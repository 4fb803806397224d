"""The network of cifar10-airbench: eight layers without shortcuts, the first of which whitens patches.

Jordan 2024, https://arxiv.org/abs/2404.00498, after Page 2018 (``How to train your ResNet``) and hlb-CIFAR10. The first
convolution decorrelates 2x2 patches of the training images and stays as it is; the others begin as identities where
they can; batch norm shifts and does not scale; GELU is the exact one.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxtl.errors import UserError
from jaxtl.models.batch_norm import BatchNorm
from jaxtl.models.classifier import Classifier, StageFactory
from jaxtl.models.convolution import convolve
from jaxtl.models.heads import HeadOptions, make_head
from jaxtl.models.layers import conv, torch_kernel_init
from jaxtl.models.max_pool import max_pool_2x2

WHITEN = "whiten"
PATCH = 2
# Smallest variance that is scaled up to 1: below it a direction is taken for noise.
LEAST_VARIANCE = 5e-4
BATCH_NORM_MOMENTUM = 0.6


class Whiten(nn.Module):
    """The whitening convolution, 2x2 without padding: ``[B, H, W, C]`` to ``[B, H - 1, W - 1, 8 * C]``.

    Random until ``whiten`` has set it.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Projections of each patch and their negatives."""
        del train
        return nn.Conv(
            2 * PATCH**2 * x.shape[-1],
            (PATCH, PATCH),
            padding="VALID",
            use_bias=False,
            dtype=self.dtype,
            kernel_init=torch_kernel_init,
            conv_general_dilated=convolve,
            name="conv",
        )(x)


class Stem(nn.Module):
    """What trains of the first layer: its bias, and the activation."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Same shape."""
        del train
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        return nn.gelu(x + bias.astype(x.dtype), approximate=False)


class Group(nn.Module):
    """Two 3x3 convolutions, a 2x2 max-pool between the first and its norm.

    Attributes:
      width: channels.
      dtype: dtype of the computation; parameters are float32.
      folded: leave away the norm that follows the second convolution, see ``jaxtl.models.fold``.
    """

    width: int
    dtype: DTypeLike = jnp.float32
    folded: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H // 2, W // 2, width]``."""
        norm = functools.partial(
            BatchNorm,
            use_running_average=not train,
            use_scale=False,
            momentum=BATCH_NORM_MOMENTUM,
            dtype=self.dtype,
        )
        convolution = functools.partial(conv, self.width, 3, kernel_init=identity_init, dtype=self.dtype)
        x = norm(name="norm1")(max_pool_2x2(convolution(name="conv1")(x)))
        x = convolution(use_bias=self.folded, name="conv2")(nn.gelu(x, approximate=False))
        if not self.folded:
            x = norm(name="norm2")(x)
        return nn.gelu(x, approximate=False)


def identity_init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Kernel ``[h, w, I, O]``: the first I outputs are the inputs, the others drawn as PyTorch does."""
    height, width, inputs, outputs = shape
    kernel = torch_kernel_init(key, shape, dtype)
    same = min(inputs, outputs)
    identity = jnp.zeros((height, width, inputs, same), dtype)
    identity = identity.at[height // 2, width // 2, jnp.arange(same), jnp.arange(same)].set(1)
    return kernel.at[..., :same].set(identity)


def whiten(variables: Mapping[str, Any], images: jax.Array) -> dict[str, Any]:
    """The variables with a first convolution that whitens 2x2 patches of the images.

    Its outputs are projections on the eigenvectors of the patches' covariance (mean not subtracted), each divided by
    the root of its eigenvalue plus 5e-4, those of the largest eigenvalues first; then their negatives.

    Args:
      variables: of a network whose first stage is ``whiten``.
      images: normalised, float ``[N, H, W, C]``; thousands.

    Returns:
      The same tree, with another ``params["whiten"]["conv"]["kernel"]``, float32 ``[2, 2, C, 8 * C]``.
    """
    H, W, C = images.shape[1:]
    windows = [images[:, i : H - 1 + i, j : W - 1 + j] for i in range(PATCH) for j in range(PATCH)]
    patches = np.asarray(jnp.stack(windows, 3), np.float32).reshape(-1, PATCH**2 * C)
    covariance = (patches.T @ patches).astype(np.float64) / len(patches)
    values, vectors = np.linalg.eigh(covariance)
    kernel = (vectors / np.sqrt(values + LEAST_VARIANCE))[:, ::-1].reshape(PATCH, PATCH, C, PATCH**2 * C)
    kernel = np.concatenate([kernel, -kernel], axis=-1)
    stage = {"conv": {"kernel": jnp.asarray(kernel, jnp.float32)}}
    return {**variables, "params": {**variables["params"], WHITEN: stage}}


def whitened_cnn(
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    *,
    widths: tuple[int, ...] = (64, 256, 256),
    head: HeadOptions = "linear",
) -> Classifier:
    """The network; its features are divided by 9, which keeps the first logits small.

    Args:
      num_classes: number of logits; 0 leaves the head away.
      dtype: dtype of the computation.
      widths: channels of each group.
      head: see ``jaxtl.models.heads.make_head``.

    Raises:
      UserError: for a width below 1, or a mistake in the head's fields.
    """
    if not widths or min(widths) < 1:
        raise UserError(f"widths is {widths}, but every group has channels: 1 or more.")
    stages: list[tuple[str, StageFactory]] = [
        (WHITEN, functools.partial(Whiten, dtype)),
        ("stem", functools.partial(Stem, dtype)),
    ]
    for i, width in enumerate(widths, start=1):
        stages.append((f"stage{i}", functools.partial(Group, width, dtype)))
    head_factory = make_head(num_classes, head, dtype)
    # One pixel goes with the patches, and each group halves what is left.
    return Classifier(tuple(stages), pool=_scaled_max, head_factory=head_factory, least_size=2 ** len(widths) + 1)


def _scaled_max(maps: jax.Array) -> jax.Array:
    return maps.max((1, 2)) / 9


VARIANTS = {"whitened_cnn": whitened_cnn}
