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
    """

    indices: np.ndarray
    mask: np.ndarray


def epoch_order(
    count: int,
    batch_size: int,
    key: tuple[int, ...] | None,
    *,
    views: int = 1,
    balanced: np.ndarray | None = None,
) -> Order:
    """Indices 0..count-1 in batches; shuffled by the key, or in their own order where it is ``None``.

    Args:
      count: number of images, at least 1.
      batch_size: images a step.
      key: seed of the shuffle, non-negative integers such as (run seed, phase, epoch). The order depends on nothing
        else, so that an interrupted epoch can be resumed at any step.
      views: versions of each image, of which one is drawn; version v of image i stands at ``v * count + i``. The order
        of the images is the same for any number of them.
      balanced: int ``[count]``, the labels, to draw every class equally often, see ``balanced_indices``; ``None``:
        every image once.

    >>> epoch_order(5, 3, None)
    Order(indices=array([[0, 1, 2],
           [3, 4, 0]], dtype=int32), mask=array([[ True,  True,  True],
           [ True,  True, False]]))
    """
    random = np.random.default_rng(key)
    order = np.arange(count) if balanced is None else balanced_indices(balanced, random)
    order = order if key is None else random.permutation(order)
    steps = -(-count // batch_size)
    indices = np.resize(order, (steps, batch_size)).astype(np.int32)
    if views > 1:
        indices += random.integers(0, views, indices.shape, np.int32) * count
    mask = np.arange(steps * batch_size).reshape(steps, batch_size) < count
    return Order(indices, mask)


def balanced_indices(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """As many indices as ``labels``, int ``[N]``, of which every class has the same number or one more, class by class.

    A class with more images than that gives some of them, drawn without replacement. One with fewer gives all of them
    equally often, but for one time: less is left to chance than in draws with replacement, as of PyTorch's
    ``WeightedRandomSampler``. Classes without an image have no share.

    >>> labels = np.array([0, 0, 0, 0, 0, 1])
    >>> labels[balanced_indices(labels, np.random.default_rng(0))].tolist()
    [0, 0, 0, 1, 1, 1]
    """
    classes = random.permutation(np.unique(labels))  # the first ones have one more
    N, K = len(labels), len(classes)
    members = [random.permutation(np.flatnonzero(labels == k)) for k in classes]
    return np.concatenate([np.resize(of, N // K + (i < N % K)) for i, of in enumerate(members)])
