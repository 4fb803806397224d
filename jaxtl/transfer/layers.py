"""Layers counted from the end: how "unfreeze the last 90 layers" is said for a model made of stages."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtl.errors import UserError

_LAST = re.compile(r"last:(\d+)")


def last_layers(train: tuple[str, ...]) -> int | None:
    """N where a phase's ``train`` is ``("last:N",)``, else ``None``.

    Raises:
      UserError: if "last:" is said without a number, or beside stages.

    >>> last_layers(("last:90",)), last_layers(("head",))
    (90, None)
    """
    if not any(name.startswith("last:") for name in train):
        return None
    found = _LAST.fullmatch(train[0]) if len(train) == 1 else None
    if not found or int(found[1]) < 1:
        raise UserError(
            f"{','.join(train)} will not do; the last N layers, 1 or more, are said as last:N alone: last:90."
        )
    return int(found[1])


def count_layers(params: Mapping[str, Any], stage_names: Sequence[str]) -> dict[str, int]:
    """By stage, in the model's order, the layers that own parameters: convolutions, norms, dense layers.

    Args:
      params: ``variables["params"]``; shapes (``jax.eval_shape``) will do.
      stage_names: the model's, as ``params`` may have any order.

    >>> params = {"head": {"kernel": 0}, "stem": {"conv": {"kernel": 0}, "norm": {"scale": 0, "bias": 0}}}
    >>> count_layers(params, ("stem", "head"))
    {'stem': 2, 'head': 1}
    """
    return {stage: _count(params.get(stage)) for stage in stage_names}


def _count(tree: Any) -> int:
    if not isinstance(tree, Mapping):
        return 0
    owns = any(not isinstance(leaf, Mapping) for leaf in tree.values())
    return int(owns) + sum(_count(inner) for inner in tree.values())


def stages_of_last(count: int, layers: Mapping[str, int]) -> tuple[str, ...]:
    """The fewest stages, counted from the end, that hold the last ``count`` layers with parameters.

    Args:
      count: at least 1.
      layers: by stage, in the model's order, from ``count_layers``.

    Raises:
      UserError: if the model has fewer layers.

    >>> stages_of_last(4, {"stem": 2, "stage1": 6, "stage2": 6, "head": 1})
    ('stage2', 'head')
    """
    total = sum(layers.values())
    if count > total:
        raise UserError(
            f"last:{count} is asked for, but the model has {total} layers with parameters; name fewer, or 'all'."
        )
    chosen: list[str] = []
    held = 0
    for stage in reversed(list(layers)):
        if held >= count:
            break
        chosen.append(stage)
        held += layers[stage]
    return tuple(reversed(chosen))
