"""Heads: from features to logits."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxtl.models.layers import linear


class LinearHead(nn.Module):
    """One dense layer, initialised as ``torch.nn.Linear``.

    Attributes:
      num_classes: number of logits.
      dtype: dtype of the computation; parameters are float32.
    """

    num_classes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> jax.Array:
        """Features ``[B, F]`` to logits ``[B, num_classes]``."""
        return linear(self.num_classes, features.shape[-1], dtype=self.dtype, name="linear")(features)
