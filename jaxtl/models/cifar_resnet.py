"""The ResNets of He et al. for CIFAR-10: 16, 32 and 64 channels, shortcuts without parameters.

He et al. 2015, https://arxiv.org/abs/1512.03385, section 4.2: 6n + 2 layers, n blocks in each of three stages, option A
shortcuts. Names are those of ``jaxtl.models.resnet``; where weights of this family say ``linear``, torchvision's
ResNets say ``fc``.
"""

import functools

import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxtl.errors import UserError
from jaxtl.models.classifier import Classifier, StageFactory
from jaxtl.models.heads import HeadOptions, make_head
from jaxtl.models.layers import global_avg_pool
from jaxtl.models.resnet import Stage, Stem


def cifar_resnet(
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    *,
    depth: int,
    width: int = 16,
    head: HeadOptions = "linear",
) -> Classifier:
    """A network of the family; it takes images of any size.

    Args:
      num_classes: number of logits; 0 leaves the head away.
      dtype: dtype of the computation.
      depth: layers with weights, 6n + 2.
      width: channels of the stem and of the first stage; each stage doubles them.
      head: see ``jaxtl.models.heads.make_head``.

    Raises:
      UserError: for a depth that is not 6n + 2, or a mistake in the head's fields.
    """
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        raise UserError(f"depth is {depth}, but these networks have 6n + 2 layers: 8, 14, 20, 32, 44, 56, 110 say.")
    stem = functools.partial(Stem, width, size=3, stride=1, pool=False, dtype=dtype)
    stages: list[tuple[str, StageFactory]] = [("stem", stem)]
    for i in range(3):
        stage = functools.partial(Stage, blocks, width * 2**i, stride=min(i + 1, 2), shortcut="pad", dtype=dtype)
        stages.append((f"stage{i + 1}", stage))
    return Classifier(tuple(stages), pool=global_avg_pool, head_factory=make_head(num_classes, head, dtype))


VARIANTS = {f"cifar_resnet{depth}": functools.partial(cifar_resnet, depth=depth) for depth in (20, 32, 44, 56, 110)}
