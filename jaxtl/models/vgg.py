"""VGG, as torchvision builds it.

Simonyan & Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
https://arxiv.org/abs/1409.1556. The five groups of convolutions between max-pools are the stages ``stem`` to
``stage4``; the paper's fc6 and fc7 are the stage ``hidden``, and fc8 is the head.
"""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxtl.models.classifier import Classifier, StageFactory
from jaxtl.models.heads import HeadOptions, Hidden, flatten, make_head
from jaxtl.models.layers import ConvBlock, he_fan_out_init


def _conv_init(_: int) -> dict[str, Any]:
    """torchvision's initialisers for the convolutions of VGG: He's by fan-out, biases zero."""
    return {"kernel_init": he_fan_out_init}


def _dense_init(_: int) -> dict[str, Any]:
    """torchvision's initialisers for the dense layers of VGG: N(0, 0.01), biases zero."""
    return {"kernel_init": nn.initializers.normal(0.01)}


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
      num_classes, dtype: see ``jaxtl.models.build_model``.
      depths: convolutions of each stage.
      batch_norm: batch norm after each convolution.
      width: channels of the first stage; each stage doubles them, up to 8 times.
      bins: rows and columns that the last maps are pooled to, at any size of image: 7 for the dense layers of
        torchvision, 1 for a mean over all pixels.
      hidden: units of the dense layers before the head; empty leaves the stage away, and the head sees the pooled maps.
      dropout: dropout rate after each dense layer, in [0, 1).
      head: see ``jaxtl.models.heads.make_head``.

    Raises:
      UserError: for a mistake in the head's fields.
    """
    stages: list[tuple[str, StageFactory]] = []
    for i, depth in enumerate(depths):
        widths = (width * 2 ** min(i, 3),) * depth
        stage = functools.partial(ConvBlock, widths, _conv_init, "after_conv" if batch_norm else "none", dtype=dtype)
        stages.append(("stem" if i == 0 else f"stage{i}", stage))
    if hidden:
        stages.append(("hidden", functools.partial(Hidden, hidden, dropout, bins, _dense_init, dtype)))
    return Classifier(
        tuple(stages),
        pool=functools.partial(flatten, grid=0 if hidden else bins),
        head_factory=make_head(num_classes, head, dtype),
        least_size=2 ** len(depths),  # each stage halves the maps, and the last one must still have a window to pool
    )


_PLAIN = {
    "vgg11": functools.partial(vgg, depths=(1, 1, 2, 2, 2)),
    "vgg13": functools.partial(vgg, depths=(2, 2, 2, 2, 2)),
    "vgg16": functools.partial(vgg, depths=(2, 2, 3, 3, 3)),
    "vgg19": functools.partial(vgg, depths=(2, 2, 4, 4, 4)),
}
VARIANTS = _PLAIN | {f"{name}_bn": functools.partial(build, batch_norm=True) for name, build in _PLAIN.items()}

# For 32-pixel images, as in https://github.com/huyvnphan/PyTorch_CIFAR10: fc6 sees a mean over all pixels.
CIFAR_VARIANTS = {f"{name}_cifar": functools.partial(build, bins=1) for name, build in VARIANTS.items()}
