"""ResNet, as torchvision builds it, and the smaller ResNets of the paper for CIFAR-10.

He et al. 2015, "Deep Residual Learning for Image Recognition", https://arxiv.org/abs/1512.03385. Like torchvision's,
these are "V1.5": a bottleneck strides at its 3x3 convolution, where the paper strides at the first 1x1. The ``_v1``
variants are those of Keras's applications, which stride as the paper does.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxtl.errors import UserError
from jaxtl.models.classifier import Classifier, StageFactory
from jaxtl.models.heads import HeadOptions, make_head
from jaxtl.models.layers import ConvModule, Stem, global_avg_pool, he_fan_out_init, relu

Shortcut = Literal["projection", "pad"]


class Block(ConvModule):
    """A residual block: ``relu(x + f(x))``, f a chain of convolutions with batch norm.

    Attributes:
      width: channels of the 3x3 convolutions.
      stride: from one output pixel to the next.
      bottleneck: f is 1x1, 3x3 and 1x1 to ``4 * width`` channels; else it is two 3x3.
      shortcut: how x meets an f of other shape: through a 1x1 convolution with batch norm (the paper's option B), or
        subsampled and with channels of zeros on both sides (option A, without parameters).
      v1: a bottleneck strides at its first convolution.
    """

    width: int
    stride: int = 1
    bottleneck: bool = False
    shortcut: Shortcut = "projection"
    v1: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), width or 4 * width]``."""
        # (channels, kernel size, stride) of each convolution.
        if self.bottleneck:
            first, second = (self.stride, 1) if self.v1 else (1, self.stride)
            chain = [(self.width, 1, first), (self.width, 3, second), (4 * self.width, 1, 1)]
        else:
            chain = [(self.width, 3, self.stride), (self.width, 3, 1)]
        conv_norm = functools.partial(self.conv_norm, kernel_init=he_fan_out_init, train=train)
        y = x
        for i, (features, size, stride) in enumerate(chain, start=1):
            y = relu(y) if i > 1 else y
            y = conv_norm(y, features, size, stride, names=(f"conv{i}", f"norm{i}"))
        grown = y.shape[-1] - x.shape[-1]
        if grown or self.stride > 1:
            if self.shortcut == "projection":
                x = conv_norm(x, y.shape[-1], 1, self.stride, names=("shortcut_conv", "shortcut_norm"))
            else:
                zeros = (grown // 2, grown - grown // 2)
                x = jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), zeros))
        return relu(x + y)


class Stage(nn.Module):
    """Blocks ``block1``, ``block2``, ... of one width; the first one strides.

    Attributes:
      block: makes a block, given the other arguments of ``Block``.
      depth: number of blocks.
      stride: of the first one.
      folded: see ``ConvModule``.
    """

    block: Callable[..., Block]
    depth: int
    stride: int
    folded: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """As ``Block``, once with the stride."""
        for i in range(1, self.depth + 1):
            block = self.block(stride=self.stride if i == 1 else 1, folded=self.folded, name=f"block{i}")
            x = block(x, train)
        return x


def resnet(
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    *,
    depths: tuple[int, ...],
    bottleneck: bool,
    width: int = 64,
    small_images: bool = False,
    v1: bool = False,
    head: HeadOptions = "linear",
) -> Classifier:
    """A network of the family; it takes images of any size.

    Args:
      num_classes, dtype: see ``jaxtl.models.build_model``.
      depths: blocks of each stage.
      bottleneck: blocks of three convolutions, with four times as many channels at the end; else of two.
      width: channels of the stem and of the first stage; each stage doubles them.
      small_images: a stem of 3x3, stride 1 in place of 7x7, stride 2; the max-pool stays.
      v1: as Keras's applications have it (keras 3.15, ``src/applications/resnet.py``): a bottleneck strides at its
        first convolution, convolutions have biases, and the epsilon of batch norm is 1.001e-5.
      head: see ``jaxtl.models.heads.make_head``.

    Raises:
      UserError: for a mistake in the head's fields.
    """
    size, stride = (3, 1) if small_images else (7, 2)
    shared: dict[str, Any] = {"dtype": dtype, **({"epsilon": 1.001e-5, "biases": True} if v1 else {})}
    stem = functools.partial(Stem, width, size, stride, he_fan_out_init, **shared)
    block = functools.partial(Block, bottleneck=bottleneck, v1=v1, **shared)
    return _chain(stem, block, depths, width, make_head(num_classes, head, dtype))


def cifar_resnet(
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    *,
    depth: int,
    width: int = 16,
    head: HeadOptions = "linear",
) -> Classifier:
    """A ResNet of section 4.2 of the paper: three stages of n blocks, shortcuts without parameters, no max-pool.

    Args:
      num_classes, dtype: see ``jaxtl.models.build_model``.
      depth: layers with weights, 6n + 2.
      width: channels of the stem and of the first stage; each stage doubles them.
      head: see ``jaxtl.models.heads.make_head``.

    Raises:
      UserError: for a depth that is not 6n + 2, or a mistake in the head's fields.
    """
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        raise UserError(
            f"depth is {depth}, but these networks have 6n + 2 layers, for example 8, 14, 20, 32, 44, 56 or 110."
        )
    stem = functools.partial(Stem, width, 3, 1, he_fan_out_init, pool=False, dtype=dtype)
    block = functools.partial(Block, shortcut="pad", dtype=dtype)
    return _chain(stem, block, (blocks,) * 3, width, make_head(num_classes, head, dtype))


def _chain(
    stem: StageFactory, block: Callable[..., Block], depths: tuple[int, ...], width: int, head: StageFactory | None
) -> Classifier:
    """Stem, stages and head; the first stage has ``width`` channels, and each other doubles them and strides."""
    stages = [("stem", stem)]
    for i, depth in enumerate(depths):
        of_stage = functools.partial(block, width * 2**i)
        stages.append((f"stage{i + 1}", functools.partial(Stage, of_stage, depth, min(i + 1, 2))))
    return Classifier(tuple(stages), pool=global_avg_pool, head_factory=head)


VARIANTS = {
    "resnet18": functools.partial(resnet, depths=(2, 2, 2, 2), bottleneck=False),
    "resnet34": functools.partial(resnet, depths=(3, 4, 6, 3), bottleneck=False),
    "resnet50": functools.partial(resnet, depths=(3, 4, 6, 3), bottleneck=True),
    "resnet101": functools.partial(resnet, depths=(3, 4, 23, 3), bottleneck=True),
    "resnet152": functools.partial(resnet, depths=(3, 8, 36, 3), bottleneck=True),
}

# Those of Keras's applications.
V1_VARIANTS = {f"resnet{depth}_v1": functools.partial(VARIANTS[f"resnet{depth}"], v1=True) for depth in (50, 101, 152)}

# For 32-pixel images: torchvision's with a small stem, as in https://github.com/huyvnphan/PyTorch_CIFAR10, and the
# paper's for CIFAR-10.
CIFAR_VARIANTS = {
    **{f"{name}_cifar": functools.partial(build, small_images=True) for name, build in VARIANTS.items()},
    **{f"cifar_resnet{depth}": functools.partial(cifar_resnet, depth=depth) for depth in (20, 32, 44, 56, 110)},
}
