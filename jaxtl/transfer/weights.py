"""Starting a model from the variables of another one, strictly: one error says all that does not fit."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtl.errors import UserError
from jaxtl.models.classifier import HEAD
from jaxtl.models.fit import leaves, misfit


def transplant(variables: Mapping[str, Any], source: Mapping[str, Any], *, new_head: bool) -> dict[str, Any]:
    """``variables`` with the values of ``source``.

    Args:
      variables: freshly initialised, ``params`` and perhaps ``batch_stats``; of leaves that ``source`` replaces, the
        shape is enough (``jax.eval_shape``).
      source: the same for a trained model of this architecture.
      new_head: keep the fresh head and leave the source's behind; it may then have any number of classes.

    Raises:
      UserError: if a leaf is missing, left over or of another shape.
    """
    target, given = leaves(variables), leaves(source)
    if new_head:
        given = {leaf: value for leaf, value in given.items() if not _of_head(leaf)}
        given |= {leaf: value for leaf, value in target.items() if _of_head(leaf)}
    if problems := misfit(_shapes(given), _shapes(target)):
        raise UserError(
            f"The weights do not fit the model: {problems}. Take weights of the same architecture and options, and "
            "new_head=True if the classes differ."
        )
    return traverse_util.unflatten_dict({leaf: jnp.asarray(given[leaf]) for leaf in target}, sep="/")


def _of_head(leaf: str) -> bool:
    return leaf.split("/")[1:2] == [HEAD]


def _shapes(named: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {leaf: np.shape(value) for leaf, value in named.items()}
