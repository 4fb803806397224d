"""Loss and confusion matrix of a pass, as masked sums that add up on the device.

Sums, not means of means: batches of any size and any number of devices give the figures of one pass over all images.
"""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np


@flax.struct.dataclass
class Metrics:
    """Sums over images.

    Attributes:
      loss: float32 scalar.
      confusion: int32 ``[K, K]``, counts; rows are true classes, columns predictions.
    """

    loss: jax.Array
    confusion: jax.Array

    def merge(self, other: "Metrics") -> "Metrics":
        """The sums over the images of both."""
        merged: Metrics = jax.tree.map(jnp.add, self, other)
        return merged

    def compute(self) -> dict[str, Any]:
        """The mean ``loss``, the ``accuracy`` in [0, 1], and ``confusion``."""
        n = self.confusion.sum()
        return {"loss": self.loss / n, "accuracy": self.confusion.trace() / n, "confusion": self.confusion}


def batch_metrics(losses: jax.Array, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Metrics:
    """The metrics of a batch: float ``losses[B]``, ``logits[B, K]``, int32 ``labels[B]`` and bool ``mask[B]``."""
    K = logits.shape[-1]
    confusion = jnp.zeros((K, K), jnp.int32).at[labels, logits.argmax(-1)].add(mask.astype(jnp.int32))
    return Metrics(jnp.where(mask, losses, 0).sum(), confusion)


def empty_metrics(num_classes: int) -> Metrics:
    """The metrics of no image at all."""
    return Metrics(jnp.zeros(()), jnp.zeros((num_classes, num_classes), jnp.int32))


def accuracy_of(confusion: np.ndarray) -> float:
    """Share of right predictions, from the counts: exact, where a mean in float32 would print as 0.20000000298.

    Args:
      confusion: int ``[K, K]``, at least one image.

    >>> accuracy_of(np.array([[1, 2], [0, 2]]))
    0.6
    """
    return int(confusion.trace()) / int(confusion.sum())
