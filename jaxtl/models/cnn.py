"""The studies' small networks: convolutional blocks, hidden dense layers, a linear head.

A dense layer on flattened maps fits one image size alone: its weights count the cells of the map. The rule by which
such a network is used at another size is explicit: ``grid=N`` averages the last maps to N x N cells, whatever their
size, as VGG does (`jaxtl.models.heads.adaptive_avg_pool`). Where the maps have N x N cells already this changes
nothing, so that weights trained without it, at a size whose maps are N x N, are the same function there and can be
used at any size.
"""

import functools

import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxtl.models.classifier import Classifier, StageFactory
from jaxtl.models.heads import HeadOptions, Hidden, flatten, make_head
from jaxtl.models.layers import ConvBlock, Norm, torch_init


def small_cnn(
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    *,
    blocks: tuple[tuple[int, ...], ...],
    hidden: tuple[int, ...],
    norm: Norm = "none",
    block_dropout: float = 0.0,
    dropout: float = 0.0,
    grid: int = 0,
    head: HeadOptions = "linear",
) -> Classifier:
    """A network of the family.

    Args:
      num_classes, dtype: see ``jaxtl.models.build_model``.
      blocks: one tuple of channels a block; the blocks are the stages ``stem``, ``stage1``, ...
      hidden: units of the dense layers, together the stage ``hidden``; empty leaves the stage away.
      norm: place of batch norm in the blocks, see ``ConvBlock``.
      block_dropout: dropout rate after each block, in [0, 1).
      dropout: dropout rate after each dense layer, in [0, 1).
      grid: cells a side that the last maps are averaged to before they are flattened, for images of any size; 0: they
        are flattened as they are, for one size.
      head: see ``jaxtl.models.heads.make_head``.

    Raises:
      UserError: for a mistake in the head's fields.
    """
    stages: list[tuple[str, StageFactory]] = [
        (
            "stem" if i == 0 else f"stage{i}",
            functools.partial(ConvBlock, widths, torch_init, norm, block_dropout, dtype=dtype),
        )
        for i, widths in enumerate(blocks)
    ]
    if hidden:
        stages.append(("hidden", functools.partial(Hidden, hidden, dropout, grid, dtype=dtype)))
    return Classifier(
        tuple(stages),
        pool=functools.partial(flatten, grid=0 if hidden else grid),
        head_factory=make_head(num_classes, head, dtype),
        least_size=2 ** len(blocks),  # each block halves the maps, and the last one must still have a window to pool
    )


# Study A's network is given to the last number; B and D leave the sizes open, and these are ours.
VARIANTS = {
    "cnn": functools.partial(small_cnn, blocks=((32,), (64,)), hidden=(256,), dropout=0.5),
    "custom_cnn": functools.partial(small_cnn, blocks=((32,), (64,), (128,)), hidden=(256,)),
    "bn_cnn": functools.partial(
        small_cnn, blocks=((32,), (64,), (128,), (256,)), hidden=(256,), norm="after_pool", dropout=0.5
    ),
    "logistic_regression": functools.partial(small_cnn, blocks=(), hidden=()),
}
