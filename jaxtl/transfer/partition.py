"""Splitting parameters into the trained part and the frozen part, and putting them together again.

Only the trained part is differentiated and handed to the optimiser. Masking the updates instead would hand frozen
leaves their raw gradient (``optax.masked``), decay them, or keep moments for them, and would pay for their backward
pass as soon as anything reads the gradient.
"""

from collections.abc import Collection, Mapping
from typing import Any

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
    """(moving, still): each with ``params`` and ``batch_stats``, of which together they hold all.

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
