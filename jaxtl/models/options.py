"""Whether an option of a network has a value that it can have: its type by its annotation, its range by its name."""

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import jax
import numpy as np

from jaxtl.errors import UserError


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _are_whole(values: Any) -> bool:
    return isinstance(values, tuple) and all(map(_is_whole, values))


# What a value of an annotation is called, and whether a value is that.
_TYPES: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    int: ("a whole number", _is_whole),
    float: ("a number", lambda value: _is_whole(value) or isinstance(value, float | np.floating)),
    bool: ("True or False", lambda value: isinstance(value, bool | np.bool_)),
    tuple[int, ...]: ("a tuple of whole numbers, for example (128,)", _are_whole),
    tuple[tuple[int, ...], ...]: (
        "a tuple of tuples of whole numbers",
        lambda value: isinstance(value, tuple) and all(map(_are_whole, value)),
    ),
}


def checked(shown: str, option: str, annotation: Any, value: Any) -> Any:
    """The value of an option, lists as tuples.

    Args:
      shown: what a message calls it, for example "head.dropout".
      option: its name: those that end in "dropout" are rates, and other numbers count layers, channels or cells.
      annotation: its type: a key of ``_TYPES``, or a ``Literal``; any other is not checked.
      value: the value.

    Raises:
      UserError: if it is not of the type, or out of range.
    """
    if get_origin(annotation) is Literal:
        what, fits = f"one of {', '.join(get_args(annotation))}", value in list(get_args(annotation))
    elif annotation in _TYPES:
        what, is_fit = _TYPES[annotation]
        value = _tuples(value) if what.startswith("a tuple") else value
        fits = is_fit(value)
    else:
        return value
    if not fits:
        raise UserError(f"{shown} is {value!r}, but must be {what}.")
    if option.endswith("dropout") and not 0 <= value < 1:
        raise UserError(f"{shown} is {value!r}, but a rate lies in [0, 1): 0 switches dropout off.")
    least = 0 if option == "grid" or annotation is bool else 1
    counts = [] if annotation is float or get_origin(annotation) is Literal else jax.tree.leaves(value)
    if min(counts, default=1) < least or (option == "depths" and not value):
        raise UserError(f"{shown} is {value!r}, but it counts layers, channels or cells: {least} or more.")
    return value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
