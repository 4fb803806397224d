"""The studies' small networks: convolutional blocks, hidden dense layers, a linear head."""

import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxtl.errors import UserError
from jaxtl.models.classifier import Classifier, StageFactory
from jaxtl.models.heads import HeadOptions, make_head
from jaxtl.models.layers import BatchNorm, conv3x3, flatten, linear, max_pool_2x2

Norm = Literal["none", "after_conv", "after_pool"]


class ConvBlock(nn.Module):
    """3x3 convolutions with ReLU, closed by a 2x2 max-pool.

    Attributes:
      widths: channels of each convolution.
      norm: where batch norm stands: nowhere, between convolution and ReLU, or after the pool (study D's order).
      dropout: rate of the dropout after the pool.
      dtype: dtype of the computation; parameters are float32.
      folded: leave away the norm that follows a convolution, see ``jaxtl.models.fold``.
    """

    widths: tuple[int, ...]
    norm: Norm = "none"
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32
    folded: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H // 2, W // 2, widths[-1]]``."""
        norm = functools.partial(BatchNorm, use_running_average=not train, dtype=self.dtype)
        for i, width in enumerate(self.widths, start=1):
            x = conv3x3(width, x.shape[-1], dtype=self.dtype, name=f"conv{i}")(x)
            if self.norm == "after_conv" and not self.folded:
                x = norm(name=f"norm{i}")(x)
            x = nn.relu(x)
        x = max_pool_2x2(x)
        if self.norm == "after_pool":
            x = norm(name="norm")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class Hidden(nn.Module):
    """Dense layers, each with ReLU and dropout, on the flattened maps.

    Attributes:
      widths: units of each layer.
      dropout: rate of the dropout after each layer.
      dtype: dtype of the computation; parameters are float32.
    """

    widths: tuple[int, ...]
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, ...]`` to ``[B, widths[-1]]``."""
        x = flatten(x)
        for i, width in enumerate(self.widths, start=1):
            x = nn.relu(linear(width, x.shape[-1], dtype=self.dtype, name=f"linear{i}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x


def small_cnn(
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    *,
    blocks: tuple[tuple[int, ...], ...],
    hidden: tuple[int, ...],
    norm: Norm = "none",
    block_dropout: float = 0.0,
    dropout: float = 0.0,
    head: HeadOptions = "linear",
) -> Classifier:
    """A network of the family.

    Args:
      num_classes: number of logits; 0 leaves the head away.
      dtype: dtype of the computation.
      blocks: one tuple of channels a block; the blocks are the stages ``stem``, ``stage1``, ...
      hidden: units of the dense layers, together the stage ``hidden``; empty leaves the stage away.
      norm: place of batch norm in the blocks, see ``ConvBlock``.
      block_dropout: dropout rate after each block, in [0, 1).
      dropout: dropout rate after each dense layer, in [0, 1).
      head: see ``jaxtl.models.heads.make_head``.

    Raises:
      UserError: for a rate outside [0, 1), a width below 1, an unknown place of batch norm, or a head's mistake.
    """
    if norm not in ("none", "after_conv", "after_pool"):
        raise UserError(f"norm is {norm!r}, but batch norm stands 'none', 'after_conv' or 'after_pool'.")
    for field, rate in (("dropout", dropout), ("block_dropout", block_dropout)):
        if not 0 <= rate < 1:
            raise UserError(f"{field} is {rate}, but a rate lies in [0, 1): 0 switches dropout off.")
    if any(width < 1 for widths in (*blocks, hidden) for width in widths):
        raise UserError(f"blocks={blocks} and hidden={hidden} name a width below 1: every layer needs a channel.")
    stages: list[tuple[str, StageFactory]] = [
        ("stem" if i == 0 else f"stage{i}", functools.partial(ConvBlock, widths, norm, block_dropout, dtype))
        for i, widths in enumerate(blocks)
    ]
    if hidden:
        stages.append(("hidden", functools.partial(Hidden, hidden, dropout, dtype)))
    head_factory = make_head(num_classes, head, dtype)
    # Each block halves the maps, and the last one must still have a window to pool.
    return Classifier(tuple(stages), pool=flatten, head_factory=head_factory, least_size=2 ** len(blocks))


# Study A's network is given to the last number; B and D leave the sizes open, and these are ours.
VARIANTS = {
    "cnn": functools.partial(small_cnn, blocks=((32,), (64,)), hidden=(256,), dropout=0.5),
    "custom_cnn": functools.partial(small_cnn, blocks=((32,), (64,), (128,)), hidden=(256,)),
    "bn_cnn": functools.partial(
        small_cnn, blocks=((32,), (64,), (128,), (256,)), hidden=(256,), norm="after_pool", dropout=0.5
    ),
    "logistic_regression": functools.partial(small_cnn, blocks=(), hidden=()),
}
