"""Variables by stage: split into a trained and a frozen part, put together again, taken over from another model.

Only the trained part is differentiated and given to the optimiser. Masking the updates instead (``optax.masked``) would
decay frozen leaves, keep moments for them, and pay for their backward pass as soon as anything reads the gradient.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtl.errors import UserError
from jaxtl.models.fit import leaves, misfit

Params = dict[str, Any]
Variables = dict[str, Params]


def split(params: Mapping[str, Any], stages: Collection[str]) -> tuple[Params, Params]:
    """(trained, frozen): the stages named and the rest; leaves are shared, not copied.

    >>> split({"stem": 1, "head": 2}, {"head"})
    ({'head': 2}, {'stem': 1})
    """
    trained = {name: leaf for name, leaf in params.items() if name in stages}
    frozen = {name: leaf for name, leaf in params.items() if name not in stages}
    return trained, frozen


def merge(trained: Mapping[str, Any], frozen: Mapping[str, Any]) -> Params:
    """The inverse of ``split``.

    >>> merge({"head": 2}, {"stem": 1})
    {'stem': 1, 'head': 2}
    """
    return {**frozen, **trained}


def split_variables(
    variables: Mapping[str, Any], *, trained: Collection[str], in_training: Collection[str]
) -> tuple[Variables, Variables]:
    """(moving, still), each with ``params`` and ``batch_stats``; together they hold all variables.

    Args:
      variables: ``params`` and ``batch_stats``.
      trained: stages whose parameters move.
      in_training: stages whose statistics move.
    """
    params, stats = split(variables["params"], trained), split(variables["batch_stats"], in_training)
    moving, still = ({"params": p, "batch_stats": s} for p, s in zip(params, stats, strict=True))
    return moving, still


def merge_variables(moving: Variables, still: Variables) -> Variables:
    """The inverse of ``split_variables``."""
    return {kind: merge(moving[kind], still[kind]) for kind in ("params", "batch_stats")}


def count_layers(params: Mapping[str, Any], stage_names: Sequence[str]) -> dict[str, int]:
    """By stage, in the model's order, the layers that own parameters: convolutions, norms, dense layers.

    Args:
      params: ``variables["params"]``; shapes (``jax.eval_shape``) are enough.
      stage_names: the model's, as ``params`` may have any order.

    >>> params = {"head": {"kernel": 0}, "stem": {"conv": {"kernel": 0}, "norm": {"scale": 0, "bias": 0}}}
    >>> count_layers(params, ("stem", "head"))
    {'stem': 2, 'head': 1}
    """
    return {
        stage: len({path[:-1] for path in traverse_util.flatten_dict({stage: params.get(stage, {})})})
        for stage in stage_names
    }


def layer_depths(params: Mapping[str, Any], stage_names: Sequence[str]) -> dict[str, dict[str, int]]:
    """By stage and layer, how many layers come after it in the model; 0 for the last layer of the head.

    A layer is what stands directly below its stage: a residual block, a layer of a dense block, a convolution. Layers
    are ordered by the number that their name ends with; those of one number, such as ``conv2`` and ``norm2``, count as
    one, and those without a number, such as ``transition``, come last.

    Args:
      params, stage_names: see ``count_layers``.

    >>> params = {"head": {"linear": 0}, "stem": {"conv1": 0, "norm1": 0, "conv2": 0}}
    >>> layer_depths(params, ("stem", "head"))
    {'head': {'linear': 0}, 'stem': {'conv1': 2, 'norm1': 2, 'conv2': 1}}
    """
    depths: dict[str, dict[str, int]] = {}
    after = 0
    for stage in reversed(stage_names):
        found = {layer: re.search(r"\d+$", layer) for layer in params.get(stage, {})}
        numbers = {layer: int(number[0]) if number else math.inf for layer, number in found.items()}
        last_first = sorted(set(numbers.values()), reverse=True)
        depths[stage] = {layer: after + last_first.index(number) for layer, number in numbers.items()}
        after += len(last_first)
    return depths


def transplant(target: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """The values of ``source`` as the variables of a model, strictly: one error names everything that does not fit.

    Args:
      target: of the model, ``params`` and perhaps ``batch_stats``; shapes are enough (``jax.eval_shape``).
      source: the same for a trained model of this architecture.

    Raises:
      UserError: if a leaf is missing, left over or of another shape.
    """
    wanted, given = leaves(target), leaves(source)
    if problems := misfit(*({leaf: np.shape(value) for leaf, value in each.items()} for each in (given, wanted))):
        raise UserError(
            f"The weights do not fit the model: {problems}. Take weights of the same architecture and options, and "
            "new_head=True if the classes differ."
        )
    return traverse_util.unflatten_dict({leaf: jnp.asarray(given[leaf]) for leaf in wanted}, sep="/")
