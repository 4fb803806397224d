"""VGG, as torchvision builds it.

Simonyan & Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
https://arxiv.org/abs/1409.1556. The five groups of convolutions between max-pools are the stages ``stem`` to
``stage4``; the paper's fc6 and fc7 are the stage ``hidden``, and fc8 is the head.

Names of parameters and statistics, and of torchvision's:

    stem/convJ, stageN/convJ      features.{index}, counted over all convolutions, norms, ReLUs and pools
    stem/normJ, stageN/normJ      the index after its convolution's (``_bn`` only)
    hidden/linear1, linear2       classifier.0, classifier.3
    head/linear                   classifier.6

``linear1`` reads maps flattened as rows, columns, channels, ``classifier.0`` as channels, rows, columns.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxtl.errors import UserError
from jaxtl.models.classifier import Classifier, StageFactory
from jaxtl.models.heads import HeadOptions, make_head
from jaxtl.models.layers import adaptive_avg_pool, conv_norm, flatten, he_fan_out_init


class Stage(nn.Module):
    """3x3 convolutions of one width, each with ReLU, closed by a 2x2 max-pool.

    Attributes:
      depth: number of convolutions, ``conv1``, ``conv2``, ...
      width: their channels.
      batch_norm: batch norm between convolution and ReLU.
      dtype: dtype of the computation; parameters are float32.
      folded: the norms are folded into the convolutions, see ``jaxtl.models.fold``.
    """

    depth: int
    width: int
    batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    folded: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H // 2, W // 2, width]``."""
        for i in range(1, self.depth + 1):
            x = conv_norm(
                x,
                self.width,
                3,
                names=(f"conv{i}", f"norm{i}"),
                kernel_init=he_fan_out_init,
                use_bias=True,
                train=train,
                folded=self.folded or not self.batch_norm,  # either way the convolution stands alone
                dtype=self.dtype,
            )
            x = nn.relu(x)
        return nn.max_pool(x, (2, 2), (2, 2))


class Hidden(nn.Module):
    """The last maps pooled to a fixed size, then dense layers, each with ReLU and dropout.

    Attributes:
      bins: rows and columns that the maps are pooled to.
      widths: units of each layer.
      dropout: rate of the dropout after each layer.
      dtype: dtype of the computation; parameters are float32.
    """

    bins: int
    widths: tuple[int, ...]
    dropout: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, widths[-1]]``."""
        x = flatten(adaptive_avg_pool(x, self.bins))
        for i, width in enumerate(self.widths, start=1):
            # torchvision's initialiser of the dense layers: N(0, 0.01), biases zero.
            init = nn.initializers.normal(0.01)
            x = nn.relu(nn.Dense(width, dtype=self.dtype, kernel_init=init, name=f"linear{i}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x


def vgg(
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    *,
    depths: tuple[int, ...],
    batch_norm: bool = False,
    width: int = 64,
    bins: int = 7,
    hidden: tuple[int, ...] = (4096, 4096),
    dropout: float = 0.5,
    head: HeadOptions = "linear",
) -> Classifier:
    """A network of the family.

    Args:
      num_classes: number of logits; 0 leaves the head away.
      dtype: dtype of the computation.
      depths: convolutions of each stage.
      batch_norm: batch norm after each convolution.
      width: channels of the first stage; each stage doubles them, up to 8 times.
      bins: rows and columns that the last maps are pooled to, at any size of image: 7 for the dense layers of
        torchvision, 1 for a mean over all pixels.
      hidden: units of the dense layers before the head; empty leaves the stage away, and the head sees the pooled maps.
      dropout: dropout rate after each dense layer, in [0, 1).
      head: see ``jaxtl.models.heads.make_head``.

    Raises:
      UserError: for a rate outside [0, 1), a width or number of bins below 1, or a mistake in the head's fields.
    """
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}, but a rate lies in [0, 1): 0 switches dropout off.")
    if bins < 1 or any(units < 1 for units in hidden):
        raise UserError(f"bins={bins} and hidden={hidden} must be 1 or more; hidden=() leaves the dense layers away.")
    stages: list[tuple[str, StageFactory]] = []
    for i, depth in enumerate(depths):
        stage = functools.partial(Stage, depth, width * 2 ** min(i, 3), batch_norm, dtype)
        stages.append(("stem" if i == 0 else f"stage{i}", stage))
    if hidden:
        stages.append(("hidden", functools.partial(Hidden, bins, tuple(hidden), dropout, dtype)))
    return Classifier(
        tuple(stages),
        pool=flatten if hidden else functools.partial(_pooled, bins=bins),
        head_factory=make_head(num_classes, head, dtype),
        least_size=2 ** len(depths),  # each stage halves the maps, and the last one must still have a window to pool
    )


def _pooled(maps: jax.Array, bins: int) -> jax.Array:
    return flatten(adaptive_avg_pool(maps, bins))


_PLAIN = {
    "vgg11": functools.partial(vgg, depths=(1, 1, 2, 2, 2)),
    "vgg13": functools.partial(vgg, depths=(2, 2, 2, 2, 2)),
    "vgg16": functools.partial(vgg, depths=(2, 2, 3, 3, 3)),
    "vgg19": functools.partial(vgg, depths=(2, 2, 4, 4, 4)),
}
VARIANTS = _PLAIN | {f"{name}_bn": functools.partial(build, batch_norm=True) for name, build in _PLAIN.items()}

# For 32-pixel images, as in https://github.com/huyvnphan/PyTorch_CIFAR10: fc6 sees a mean over all pixels.
CIFAR_VARIANTS = {f"{name}_cifar": functools.partial(build, bins=1) for name, build in VARIANTS.items()}
