"""DenseNet-BC, as torchvision builds it.

Huang et al. 2016, "Densely Connected Convolutional Networks", https://arxiv.org/abs/1608.06993. A transition belongs to
the stage it closes; the last stage closes with torchvision's ``norm5`` and the ReLU that follows it.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxtl.models.classifier import Classifier, StageFactory
from jaxtl.models.heads import HeadOptions, make_head
from jaxtl.models.layers import ConvModule, Stem, conv, global_avg_pool, he_fan_in_init, relu

# A 1x1 convolution narrows each layer's input to this many times the growth: the "B" of DenseNet-BC.
BOTTLENECK = 4

_conv = functools.partial(conv, use_bias=False, kernel_init=he_fan_in_init)


class DenseLayer(ConvModule):
    """Norm, ReLU, 1x1 convolution; norm, ReLU, 3x3 convolution.

    The second norm can be folded into the first convolution. The first norm follows a concatenation and stays.

    Attributes:
      growth: channels that the layer adds.
      dropout: rate of the dropout on the added channels.
    """

    growth: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to the channels to append, ``[B, H, W, growth]``."""
        y = relu(self.normalise(x, "norm1", train))
        width, names = BOTTLENECK * self.growth, ("conv1", "norm2")
        y = self.conv_norm(y, width, 1, names=names, kernel_init=he_fan_in_init, train=train)
        y = _conv(self.growth, 3, dtype=self.dtype, name="conv2")(relu(y))
        return nn.Dropout(self.dropout, deterministic=not train)(y)


class Transition(ConvModule):
    """Norm, ReLU, 1x1 convolution to half the channels, 2x2 mean."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H // 2, W // 2, C // 2]``."""
        x = relu(self.normalise(x, "norm", train))
        # The mean and a 1x1 convolution commute; the mean comes first because it leaves a quarter of the products.
        x = nn.avg_pool(x, (2, 2), (2, 2))
        return _conv(x.shape[-1] // 2, 1, dtype=self.dtype, name="conv")(x)


class Stage(ConvModule):
    """Layers ``layer1``, ``layer2``, ..., then a transition or, in the last stage, norm and ReLU.

    Each layer's output is appended to its input.

    Attributes:
      depth: number of layers.
      last: close with norm and ReLU.
      growth, dropout: the layers', see ``DenseLayer``.
    """

    depth: int
    last: bool
    growth: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H // 2, W // 2, (C + depth * growth) // 2]``, or undivided in the last stage."""
        for i in range(1, self.depth + 1):
            layer = DenseLayer(self.growth, self.dropout, dtype=self.dtype, folded=self.folded, name=f"layer{i}")
            x = jnp.concatenate([x, layer(x, train)], axis=-1)
        if self.last:
            return relu(self.normalise(x, "norm", train))
        return Transition(dtype=self.dtype, name="transition")(x, train)


def densenet(
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    *,
    depths: tuple[int, ...],
    growth: int = 32,
    width: int = 64,
    dropout: float = 0.0,
    small_images: bool = False,
    head: HeadOptions = "linear",
) -> Classifier:
    """A network of the family.

    Args:
      num_classes, dtype: see ``jaxtl.models.build_model``.
      depths: layers of each stage.
      growth: channels that each layer adds.
      width: channels of the stem.
      dropout: dropout rate on the channels that each layer adds, in [0, 1).
      small_images: a stem of 3x3, stride 1 in place of 7x7, stride 2; the max-pool stays.
      head: see ``jaxtl.models.heads.make_head``.

    Raises:
      UserError: for a mistake in the head's fields.
    """
    size, stride = (3, 1) if small_images else (7, 2)
    stem = functools.partial(Stem, width, size, stride, he_fan_in_init, dtype=dtype)
    stages: list[tuple[str, StageFactory]] = [("stem", stem)]
    for i, depth in enumerate(depths, start=1):
        stage = functools.partial(Stage, depth, i == len(depths), growth, dropout, dtype=dtype)
        stages.append((f"stage{i}", stage))
    # Each transition halves the maps and drops an odd row, so the stem must leave 2^transitions rows. It halves once
    # in the pool, and once more where the convolution strides, and rounds up.
    transitions = len(depths) - 1
    least_size = 2 * stride * (2**transitions - 1) + 1
    return Classifier(
        tuple(stages),
        pool=global_avg_pool,
        head_factory=make_head(num_classes, head, dtype),
        least_size=least_size,
    )


VARIANTS = {
    "densenet121": functools.partial(densenet, depths=(6, 12, 24, 16)),
    "densenet161": functools.partial(densenet, depths=(6, 12, 36, 24), growth=48, width=96),
    "densenet169": functools.partial(densenet, depths=(6, 12, 32, 32)),
    "densenet201": functools.partial(densenet, depths=(6, 12, 48, 32)),
}

# For 32-pixel images, as in https://github.com/huyvnphan/PyTorch_CIFAR10.
CIFAR_VARIANTS = {f"{name}_cifar": functools.partial(build, small_images=True) for name, build in VARIANTS.items()}
