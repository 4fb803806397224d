"""DenseNet-BC, as torchvision builds it.

Huang et al. 2016, "Densely Connected Convolutional Networks", https://arxiv.org/abs/1608.06993. A transition belongs to
the stage it closes; the last stage closes with torchvision's ``norm5`` and the ReLU that follows it.

Names of parameters and statistics, and of torchvision's:

    stem/conv, stem/norm                    features.conv0, features.norm0
    stageN/layerK/norm1, conv1, norm2, conv2    features.denseblockN.denselayerK.norm1, conv1, norm2, conv2
    stageN/transition/norm, conv            features.transitionN.norm, conv     (N = 1, 2, 3)
    stage4/norm                             features.norm5
    head/linear                             classifier
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxtl.errors import UserError
from jaxtl.models.classifier import Classifier, StageFactory
from jaxtl.models.heads import HeadOptions, make_head
from jaxtl.models.layers import BatchNorm, conv, conv_norm, global_avg_pool, he_fan_in_init

# A 1x1 convolution narrows each layer's input to this many times the growth: the "B" of DenseNet-BC.
BOTTLENECK = 4


class Stem(nn.Module):
    """Convolution, batch norm, ReLU, max-pool.

    Attributes:
      width: output channels.
      size: height and width of the kernel.
      stride: of the convolution.
      dtype: dtype of the computation; parameters are float32.
      folded: the norm is folded into the convolution, see ``jaxtl.models.fold``.
    """

    width: int
    size: int
    stride: int
    dtype: DTypeLike = jnp.float32
    folded: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, ceil(H / 2s), ceil(W / 2s), width]``, s = stride."""
        norm_after = functools.partial(conv_norm, train=train, folded=self.folded, dtype=self.dtype)
        x = nn.relu(norm_after(x, self.width, self.size, self.stride, kernel_init=he_fan_in_init))
        return nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1 convolution; norm, ReLU, 3x3 convolution.

    Attributes:
      growth: channels that the layer adds.
      dropout: rate of the dropout on the added channels.
      dtype: dtype of the computation; parameters are float32.
      folded: the second norm is folded into the first convolution; the first norm follows a concatenation, stands
        before a ReLU, and stays.
    """

    growth: int
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32
    folded: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to the channels to append, ``[B, H, W, growth]``."""
        norm_after = functools.partial(conv_norm, train=train, folded=self.folded, dtype=self.dtype)
        y = nn.relu(BatchNorm(use_running_average=not train, dtype=self.dtype, name="norm1")(x))
        y = norm_after(y, BOTTLENECK * self.growth, 1, names=("conv1", "norm2"), kernel_init=he_fan_in_init)
        y = conv(self.growth, 3, kernel_init=he_fan_in_init, dtype=self.dtype, name="conv2")(nn.relu(y))
        return nn.Dropout(self.dropout, deterministic=not train)(y)


class Transition(nn.Module):
    """Norm, ReLU, 1x1 convolution to half the channels, 2x2 mean.

    Attributes:
      dtype: dtype of the computation; parameters are float32.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H // 2, W // 2, C // 2]``."""
        x = nn.relu(BatchNorm(use_running_average=not train, dtype=self.dtype, name="norm")(x))
        # The mean and a 1x1 convolution commute; the mean comes first because it leaves a quarter of the products.
        x = nn.avg_pool(x, (2, 2), (2, 2))
        return conv(x.shape[-1] // 2, 1, kernel_init=he_fan_in_init, dtype=self.dtype, name="conv")(x)


class Stage(nn.Module):
    """Layers ``layer1``, ``layer2``, ..., then a transition or, in the last stage, norm and ReLU.

    Each layer's output is appended to its input.

    Attributes:
      depth: number of layers.
      last: close with norm and ReLU.
      growth, dropout, dtype, folded: the layers', see ``DenseLayer``.
    """

    depth: int
    last: bool
    growth: int
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32
    folded: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H // 2, W // 2, (C + depth * growth) // 2]``, or undivided in the last stage."""
        for i in range(1, self.depth + 1):
            layer = DenseLayer(self.growth, self.dropout, self.dtype, self.folded, name=f"layer{i}")
            x = jnp.concatenate([x, layer(x, train)], axis=-1)
        if self.last:
            return nn.relu(BatchNorm(use_running_average=not train, dtype=self.dtype, name="norm")(x))
        return Transition(self.dtype, name="transition")(x, train)


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
      num_classes: number of logits; 0 leaves the head away.
      dtype: dtype of the computation.
      depths: layers of each stage.
      growth: channels that each layer adds.
      width: channels of the stem.
      dropout: dropout rate on the channels that each layer adds, in [0, 1).
      small_images: a stem of 3x3, stride 1 in place of 7x7, stride 2; the max-pool stays.
      head: see ``jaxtl.models.heads.make_head``.

    Raises:
      UserError: for a rate outside [0, 1), or a mistake in the head's fields.
    """
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}, but a rate lies in [0, 1): 0 switches dropout off.")
    size, stride = (3, 1) if small_images else (7, 2)
    stages: list[tuple[str, StageFactory]] = [("stem", functools.partial(Stem, width, size, stride, dtype))]
    for i, depth in enumerate(depths, start=1):
        stage = functools.partial(Stage, depth, i == len(depths), growth, dropout, dtype)
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
