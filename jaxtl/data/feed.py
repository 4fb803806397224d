"""The order in which images are seen: every epoch a grid of indices, every row a batch of one fixed shape.

The last, short batch is filled up so that no step recompiles, and the filling is masked so that every image counts
once. The filling repeats images of the same epoch rather than zeros: batch norm then sees real images in a full batch,
where PyTorch would take the statistics of the few left over (and fail on a single one).
"""

from typing import NamedTuple

import numpy as np


class Order(NamedTuple):
    """One pass over a data set.

    Attributes:
      indices: int32 ``[steps, batch]``, into the data set.
      mask: bool ``[steps, batch]``, False where an index only fills up the last batch.
      mirrored: bool ``[steps, batch]``, which images are mirrored, where that alternates; else ``None``.
    """

    indices: np.ndarray
    mask: np.ndarray
    mirrored: np.ndarray | None = None


def epoch_order(
    count: int,
    batch_size: int,
    key: tuple[int, ...] | None,
    *,
    views: int = 1,
    mirrored: np.ndarray | None = None,
) -> Order:
    """Indices 0..count-1 in batches; shuffled by the key, or in their own order where it is ``None``.

    Args:
      count: number of images, at least 1.
      batch_size: images a step.
      key: seed of the shuffle, non-negative integers such as (run seed, phase, epoch): the order depends on nothing
        else, which is what lets an interrupted epoch be resumed at any step.
      views: versions of each image, of which one is drawn; version v of image i stands at ``v * count + i``. The order
        of the images is the same for any number of them.
      mirrored: bool ``[count]``, the images that this epoch mirrors, see ``alternate_mirrors``.

    >>> epoch_order(5, 3, None)
    Order(indices=array([[0, 1, 2],
           [3, 4, 0]], dtype=int32), mask=array([[ True,  True,  True],
           [ True,  True, False]]), mirrored=None)
    """
    random = np.random.default_rng(key)
    order = np.arange(count) if key is None else random.permutation(count)
    steps = -(-count // batch_size)
    indices = np.resize(order, (steps, batch_size)).astype(np.int32)
    if views > 1:
        indices += random.integers(0, views, indices.shape, np.int32) * count
    mask = np.arange(steps * batch_size).reshape(steps, batch_size) < count
    return Order(indices, mask, None if mirrored is None else mirrored[indices])


def alternate_mirrors(count: int, key: tuple[int, ...], epoch: int) -> np.ndarray:
    """The images that an epoch mirrors: a random half in the first, the others in the second, and so on.

    Two epochs in a row show every image both ways, where independent draws show a half of them one way twice
    (Jordan 2024, https://arxiv.org/abs/2404.00498).

    Args:
      count: number of images.
      key: seed of the first draw, the same in all epochs.
      epoch: from 0.

    Returns:
      bool ``[count]``.

    >>> bool((alternate_mirrors(5, (0,), 0) ^ alternate_mirrors(5, (0,), 1)).all())
    True
    """
    first = np.random.default_rng(key).random(count) < 0.5
    return first ^ bool(epoch % 2)
