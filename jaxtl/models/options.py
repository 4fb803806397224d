"""Checks of options: their type by annotation, their range by name."""

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import jax
import numpy as np

from jaxtl.errors import UserError
from jaxtl.models.fit import shown

MOST_UNITS, MOST_LAYERS = 65_536, 1_000
_GREATEST = 3.4e38  # of float32
_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a finite number",
    str: "a string",
    tuple[tuple[int, ...], ...]: "a tuple of tuples of whole numbers",
}


def in_words(annotation: Any) -> str:
    """A type in words; empty for one that is not checked."""
    inner = get_args(annotation)
    if inner[1:] == (...,) and annotation not in _WORDS:
        return f"a tuple, each element {in_words(inner[0])}"
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(inner)}"
    return "a mapping" if get_origin(annotation) is Mapping else _WORDS.get(annotation, "")


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value is of a type; of a number also whether float32 can have it."""
    inner = get_args(annotation)
    if inner[1:] == (...,):
        return isinstance(value, tuple) and all(fits(item, inner[0]) for item in value)
    if get_origin(annotation) is Literal:
        return value in list(inner)
    if get_origin(annotation) is Mapping:
        return isinstance(value, Mapping)
    if isinstance(value, bool | np.bool_) or annotation is bool:
        return isinstance(value, bool | np.bool_) and annotation not in (int, float, str)
    if annotation is float:
        is_number = isinstance(value, int | float | np.integer | np.floating)
        return is_number and bool(abs(value) <= _GREATEST)
    kinds = {int: int | np.integer, str: str}
    return annotation not in kinds or isinstance(value, kinds[annotation])


def checked(name: str, option: str, annotation: Any, value: Any) -> Any:
    """The value of an option, lists as tuples.

    Args:
      name: what a message calls it, for example "head.dropout".
      option: its name: those that end in "dropout" are rates, and other numbers count layers, channels or cells.
      annotation: its type, see ``in_words``; one that this does not know is not checked.
      value: the value.

    Raises:
      UserError: if it is not of the type, or out of range; larger numbers than any network has are slips.
    """
    value = _tuples(value) if get_args(annotation)[1:] == (...,) else value
    what = f"{name} is {shown(repr(value))}"
    if not fits(value, annotation):
        example = f", for example ({value!r},)" * fits((value,), annotation)
        raise UserError(f"{what}, but must be {in_words(annotation)}{example}.")
    if annotation is float and option.endswith("dropout") and not 0 <= value < 1:
        raise UserError(f"{what}, but a rate lies in [0, 1): 0 switches dropout off.")
    if _innermost(annotation) is not int:
        return value
    counts, least = jax.tree.leaves(value), 0 if option == "grid" else 1
    if min(counts, default=1) < least or (option == "depths" and not value):
        raise UserError(f"{what}, but it counts layers, channels or cells: {least} or more.")
    if max(counts, default=1) > MOST_UNITS:
        raise UserError(f"{what}, but no layer has more than {MOST_UNITS} units; choose fewer.")
    if (layers := sum(counts) if option == "depths" else len(counts)) > MOST_LAYERS:
        raise UserError(f"{what} and makes {layers} layers, but no network has more than {MOST_LAYERS}; choose fewer.")
    return value


def _innermost(annotation: Any) -> Any:
    inner = get_args(annotation)
    return _innermost(inner[0]) if inner[1:] == (...,) else annotation


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
