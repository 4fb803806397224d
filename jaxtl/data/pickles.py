"""Read a pickled dictionary of plain values and uint8 arrays, such as a batch of CIFAR, without trusting it."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxtl.errors import UserError
from jaxtl.runtime.unpickle import ForbiddenError, UnpickleError, unpickle


def read_pickled_dict(raw: bytes, source: str, keys: Sequence[str]) -> dict[str, Any]:
    """Unpickle ``raw`` as a dictionary.

    Args:
      raw: the content of the file, written by Python 2, or by Python 3 with protocol 3 or 4.
      source: where it comes from, for error messages.
      keys: keys that the dictionary must have; byte strings count as the same text.

    Returns:
      The dictionary with text keys. Its arrays are read-only uint8; strings of Python 2 are read as latin-1.

    Raises:
      UserError: the file is truncated, names anything else than a uint8 array, or holds no such dictionary.
    """
    try:
        content = unpickle(io.BytesIO(raw), _STAND_INS)
        if not isinstance(content, dict):
            raise UnpickleError(f"it holds a {type(content).__name__}, not a dictionary")
        entries = {}
        for key, value in content.items():
            name = key.decode("latin-1") if isinstance(key, bytes) else key
            entries[name] = value.array if isinstance(value, _Array) else value
        if missing := [key for key in keys if key not in entries]:
            raise UnpickleError(f"its dictionary lacks {', '.join(missing)}")
    except ForbiddenError as error:
        raise UserError(
            f"{source} asks for {error}, which no CIFAR batch file needs and which could run code: nothing was run; "
            "replace the file with the official one."
        ) from error
    except (UnpickleError, EOFError) as error:
        reason = str(error) or "it ends too early"
        raise UserError(
            f"{source} is truncated or altered: {reason}; replace the file with the official one."
        ) from error
    return entries


class _Array:
    """Stands for an array, which is empty until the pickle sets its state."""

    def __init__(self, *_: Any) -> None:
        self.array = np.zeros(0, np.uint8)

    def set_state(self, state: tuple) -> None:
        _version, shape, dtype, is_fortran, items = state
        raw = items.encode("latin-1") if isinstance(items, str) else items  # a string of Python 2
        if not isinstance(dtype, _Uint8) or not isinstance(raw, bytes):
            raise UnpickleError("it holds an array of another type than uint8")
        self.array = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _Uint8:
    """Stands for ``dtype("u1")``; its state is the byte order, which means nothing for single bytes."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str | bytes) or code not in ("u1", b"u1"):
            raise UnpickleError("it holds an array of another type than uint8")

    def set_state(self, state: tuple) -> None:
        pass


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # its address since NumPy 2
    ("numpy", "ndarray"): _Array,  # only ever handed to _reconstruct
    ("numpy", "dtype"): _Uint8,
}
