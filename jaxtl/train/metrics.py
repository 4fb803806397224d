"""Loss and the confusion matrix as CLU metrics: masked sums that add up on the device.

Sums, not means of means: batches of any size and any number of devices give the figures of one pass over all images.
"""

# No `from __future__ import annotations` here: CLU reads the annotations of a Collection as classes.

import flax
import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics as clu_metrics


@flax.struct.dataclass
class Confusion(clu_metrics.Metric):
    """Counts of (true class, predicted class).

    Attributes:
      counts: int32 ``[K, K]``; rows are true classes, columns predictions.
    """

    counts: jax.Array

    @classmethod
    def from_model_output(cls, *, logits: jax.Array, labels: jax.Array, mask: jax.Array, **_: jax.Array) -> "Confusion":
        """From logits ``[B, K]``, int32 labels ``[B]`` and a bool mask ``[B]``."""
        K = logits.shape[-1]
        counts = jnp.zeros((K, K), jnp.int32).at[labels, logits.argmax(-1)].add(mask.astype(jnp.int32))
        return cls(counts)

    def merge(self, other: "Confusion") -> "Confusion":
        """The counts of both."""
        return type(self)(self.counts + other.counts)

    def compute(self) -> jax.Array:
        """The counts, int32 ``[K, K]``."""
        return self.counts


@flax.struct.dataclass
class Metrics(clu_metrics.Collection):
    """What a pass over a data set is measured by: mean loss and confusion counts.

    ``Metrics.single_from_model_output(loss=, logits=, labels=, mask=)`` measures a batch, ``merge`` adds batches.
    """

    loss: clu_metrics.Average.from_output("loss")  # type: ignore[valid-type]
    confusion: Confusion


def empty_metrics(num_classes: int) -> Metrics:
    """The metrics of no image at all: the neutral element of ``merge``.

    ``Metrics.empty()`` cannot know the number of classes, and a state that is donated to a jitted step needs its
    final shapes from the start.
    """
    nothing = Metrics.single_from_model_output(
        loss=jnp.zeros(1),
        logits=jnp.zeros((1, num_classes)),
        labels=jnp.zeros(1, jnp.int32),
        mask=jnp.zeros(1, bool),
    )
    # Leaves must not share a buffer, or donating the state would donate it twice.
    return jax.tree.map(jnp.copy, nothing)


def accuracy_of(confusion: np.ndarray) -> float:
    """Share of right predictions, from the counts: exact, where a mean in float32 would print as 0.20000000298.

    Args:
      confusion: int ``[K, K]``, at least one image.

    >>> accuracy_of(np.array([[1, 2], [0, 2]]))
    0.6
    """
    return int(confusion.trace()) / int(confusion.sum())
