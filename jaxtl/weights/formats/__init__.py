"""File formats of weights: what can be written, and the two errors of a file that is not what it was."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtl.errors import UserError, expect
from jaxtl.models.fit import shown

_LONGEST = 500  # letters of a reason: names in a damaged file can be of any length


def arrays_by_name(given: Any) -> dict[str, np.ndarray]:
    """What is to be written, as C-contiguous arrays.

    Raises:
      UserError: it is not a mapping with texts as keys, or holds something that is not an array of numbers.
    """
    expect("What is to be written", given, Mapping, "a dictionary of arrays by name")
    arrays = {}
    for name, value in given.items():
        expect("The name of an array", name, str, "a text")
        arrays[name] = np.asarray(value, order="C")
        if arrays[name].dtype.kind not in "biufcV":
            raise UserError(f"{shown(name)} is of type {arrays[name].dtype}, which is not a type of numbers.")
    return arrays


def truncated(source: str, what: str) -> UserError:
    """The error of a file that was cut short."""
    return UserError(f"{source} is truncated: {shown(what, _LONGEST)}; get the file again.")


def damaged(source: str, what: str) -> UserError:
    """The error of a file whose bytes contradict each other."""
    return UserError(f"{source} is altered or damaged: {shown(what, _LONGEST)}; get the file again.")
