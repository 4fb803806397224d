"""What an epoch is made of: inputs and labels, on the device or, as they outgrow it, in host memory or in files.

In any case a step is given ``(inputs, labels, order, row)`` and takes the batch ``order[row]`` inside jit: from all
inputs where they lie on the device, from one batch that the host has gathered or decoded where they do not.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxtl.data.dataset import Dataset
from jaxtl.data.feed import Order, epoch_order
from jaxtl.data.stored import StoredImages
from jaxtl.runtime.memory import fits
from jaxtl.runtime.mesh import own_rows, put, put_order, replicated, split
from jaxtl.runtime.processes import wait_for_all

Batch = tuple[jax.Array, jax.Array, Order, int]


class Examples(NamedTuple):
    """Inputs and labels, placed.

    Attributes:
      inputs: images, uint8 ``[N, H, W, C]``, or features, float32 ``[views * N (or more), F]``, view by view.
      labels: int32, one an input.
      num_classes: K.
      total: N, the inputs that one epoch sees.
      views: how many versions of each input there are; an epoch draws one of them for each.
    """

    inputs: jax.Array | np.ndarray | StoredImages
    labels: jax.Array | np.ndarray
    num_classes: int
    total: int
    views: int = 1


def place(dataset: Dataset, mesh: Mesh) -> Examples:
    """The images of a data set, on every device if they fit."""
    examples = Examples(dataset.images, dataset.labels, dataset.num_classes, len(dataset))
    if isinstance(dataset.images, StoredImages) or not fits(dataset.images.nbytes, mesh):
        return examples
    inputs, labels = put((examples.inputs, examples.labels), replicated(mesh))
    return examples._replace(inputs=inputs, labels=labels)


def batches(
    examples: Examples,
    batch_size: int,
    key: tuple[int, ...] | None,
    mesh: Mesh,
    first: int = 0,
    balanced: np.ndarray | None = None,
) -> Iterator[Batch]:
    """What the steps of an epoch are given, one after another.

    Args:
      examples: inputs and labels.
      batch_size: inputs a step, a multiple of the number of devices.
      key: seed of the shuffle, see ``epoch_order``; ``None`` keeps the order.
      mesh: the devices.
      first: the step to begin with, in an epoch that was broken off.
      balanced: see ``epoch_order``.

    Yields:
      ``(inputs, labels, order, row)``; the shapes are the same at every step.
    """
    order = epoch_order(examples.total, batch_size, key, views=examples.views, balanced=balanced)
    rows = range(first, len(order.indices))
    if isinstance(examples.inputs, jax.Array):
        on_device, labels = put_order(order, mesh), jnp.asarray(examples.labels)
        for row in rows:
            yield examples.inputs, labels, on_device, row
        return
    own = own_rows(batch_size, mesh)  # a process reads no others
    in_turn = np.arange(batch_size, dtype=np.int32)[None]
    ahead: list[Batch] = []
    all_labels = np.asarray(examples.labels)
    for row, gathered in zip(rows, _gathered(examples.inputs, order.indices[first:, own]), strict=True):
        if row == first:
            wait_for_all()  # the readers of one may start long after those of another
        local = gathered, all_labels[order.indices[row, own]]
        # The whole shape is given, because JAX cannot tell it where hosts have unequal numbers of devices.
        batch = [
            jax.make_array_from_process_local_data(split(mesh), part, (batch_size, *part.shape[1:])) for part in local
        ]
        this = Order(in_turn, order.mask[row][None])
        ahead.append((*batch, put_order(this, mesh), 0))
        if len(ahead) > 1:  # the copy to the device goes on while the step before it computes
            yield ahead.pop(0)
    yield from ahead


def loss_weights(weights: str | Mapping[str, float], dataset: Dataset) -> np.ndarray | None:
    """The weight of each class in the loss, float32 ``[K]``; ``None`` where all are 1.

    Args:
      weights: ``"none"``; ``"balanced"``, scikit-learn's N / (K * images of the class), K of the classes that have
        images; or weights by name of a class, 1 for the others.
      dataset: the training images.
    """
    if weights == "none":
        return None
    if isinstance(weights, Mapping):
        return np.array([weights.get(name, 1.0) for name in dataset.class_names], np.float32)
    counts = np.bincount(dataset.labels, minlength=dataset.num_classes)
    return (len(dataset) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)


def shapes_of_batch(examples: Examples, batch_size: int, mesh: Mesh) -> tuple[Any, Any, Order]:
    """``(inputs, labels, order)`` as ``batches`` yields them without a shuffle; of gathered inputs the shapes alone."""
    order = epoch_order(examples.total, batch_size, None)
    if isinstance(examples.inputs, jax.Array):
        return examples.inputs, jnp.asarray(examples.labels), put_order(order, mesh)

    def rows(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch_size, *shape[1:]), dtype, sharding=split(mesh))

    dtype = np.uint8 if isinstance(examples.inputs, StoredImages) else examples.inputs.dtype
    labels = np.asarray(examples.labels)
    first = Order(order.indices[:1], order.mask[:1])
    return rows(examples.inputs.shape, dtype), rows(labels.shape, labels.dtype), put_order(first, mesh)


def _gathered(inputs: np.ndarray | StoredImages, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The inputs of one row of indices after another."""
    if isinstance(inputs, StoredImages):
        from jaxtl.data.stream import stream  # Grain, which images in memory should not wait for

        yield from stream(inputs, rows)
    else:
        yield from (inputs[row] for row in rows)
