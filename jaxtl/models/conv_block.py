"""The block of the small CNNs and of VGG."""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax

from jaxtl.models.layers import ConvModule, relu

Norm = Literal["none", "after_conv", "after_pool"]


class ConvBlock(ConvModule):
    """3x3 convolutions with ReLU, closed by a 2x2 max-pool: a block of the small CNNs, a stage of VGG.

    Attributes:
      widths: channels of each convolution, ``conv1``, ``conv2``, ...
      conv3x3: makes a convolution, given its channels, those of its input, ``dtype`` and ``name``.
      norm: where batch norm stands: nowhere, between convolution and ReLU, or after the pool (study D's order).
      dropout: rate of the dropout after the pool.
    """

    widths: tuple[int, ...]
    conv3x3: Callable[..., nn.Conv]
    norm: Norm = "none"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H // 2, W // 2, widths[-1]]``."""
        for i, width in enumerate(self.widths, start=1):
            x = self.conv3x3(width, x.shape[-1], dtype=self.dtype, name=f"conv{i}")(x)
            if self.norm == "after_conv" and not self.folded:
                x = self.normalise(x, f"norm{i}", train)
            x = relu(x)
        x = nn.max_pool(x, (2, 2), (2, 2))
        if self.norm == "after_pool":
            x = self.normalise(x, "norm", train)
        return nn.Dropout(self.dropout, deterministic=not train)(x)
