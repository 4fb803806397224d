"""An architecture and its variables in one call."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxtl.errors import UserError
from jaxtl.models import Classifier, build_model
from jaxtl.train.checkpoint import read_best
from jaxtl.transfer.weights import transplant


def create_model(
    name: str,
    num_classes: int,
    *,
    weights: str | pathlib.Path | None = None,
    key: jax.Array,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    new_head: bool = True,
    dtype: DTypeLike = jnp.float32,
    **options: Any,
) -> tuple[Classifier, dict[str, Any]]:
    """A model and its variables.

    Args:
      name: one of ``list_models()``.
      num_classes: number of logits; 0 leaves the head away, and the model returns features.
      weights: folder of a finished run of the same architecture, or ``None`` for random variables.
      key: PRNG key of the initialisation.
      image_shape: (H, W, C) that the dense layers are sized for; a network without flattened maps takes any size later.
      new_head: with ``weights``: keep the random head, and leave that of the weights behind.
      dtype: dtype of the computation; variables are float32.
      **options: options of the architecture, ``dropout=0.3`` say.

    Returns:
      The Linen module, and ``{"params": …}`` with ``"batch_stats"`` where it has batch norm.

    Raises:
      UserError: for a name, an option or an image size that the architecture does not know, or weights that do not fit.

    >>> import jax, jaxtl
    >>> model, variables = jaxtl.create_model("cnn", num_classes=10, key=jax.random.key(0))
    >>> model.apply(variables, jax.numpy.zeros((2, 32, 32, 3)), train=False).shape
    (2, 10)
    """
    model = build_model(name, num_classes, dtype, **options)
    variables = jax.jit(model.init)(key, jnp.zeros((1, *image_shape)))
    if weights is None:
        return model, variables
    folder = pathlib.Path(weights)
    if not folder.is_dir():
        raise UserError(f"There are no weights at {folder}: give the folder of a finished run, or none.")
    return model, transplant(variables, read_best(folder / "checkpoints"), new_head=new_head)
