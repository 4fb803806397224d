"""Splitting parameters into the trained part and the frozen part, and putting them together again.

Only the trained part is differentiated and handed to the optimiser. Masking the updates instead would hand frozen
leaves their raw gradient (``optax.masked``), decay them, or keep moments for them, and would pay for their backward
pass as soon as anything reads the gradient.
"""

from collections.abc import Collection, Mapping
from typing import Any

Params = dict[str, Any]


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
