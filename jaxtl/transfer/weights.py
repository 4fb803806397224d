"""Starting a model from the variables of another one, strictly: whatever does not fit is named, all of it at once."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import traverse_util

from jaxtl.errors import UserError
from jaxtl.models.classifier import HEAD


def transplant(variables: Mapping[str, Any], source: Mapping[str, Any], *, new_head: bool) -> dict[str, Any]:
    """``variables`` with the values of ``source``.

    Args:
      variables: freshly initialised, ``params`` and perhaps ``batch_stats``; of leaves that ``source`` replaces, the
        shape is enough (``jax.eval_shape``).
      source: the same for a trained model of this architecture.
      new_head: keep the fresh head and leave the source's behind; it may then have any number of classes.

    Raises:
      UserError: if a leaf is missing, left over or of another shape; every such leaf is named.
    """
    target, given = _leaves(variables), _leaves(source)
    if new_head:
        given = {path: value for path, value in given.items() if path[1] != HEAD}
        given |= {path: value for path, value in target.items() if path[1] == HEAD}
    faults = [f"{_name(path)} is missing" for path in sorted(target.keys() - given.keys())]
    faults += [f"{_name(path)} has no place" for path in sorted(given.keys() - target.keys())]
    faults += [
        f"{_name(path)} has shape {given[path].shape} where the model has {target[path].shape}"
        for path in sorted(target.keys() & given.keys())
        if given[path].shape != target[path].shape
    ]
    if faults:
        raise UserError(
            f"The weights do not fit the model: {'; '.join(faults)}. Take weights of the same architecture and "
            "options, and new_head=True if the classes differ."
        )
    return traverse_util.unflatten_dict({path: jnp.asarray(given[path]) for path in target})


def _leaves(tree: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    return traverse_util.flatten_dict(dict(tree))


def _name(path: tuple[str, ...]) -> str:
    return "/".join(path)
