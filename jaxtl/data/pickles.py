"""Read a pickled dictionary of plain values and uint8 arrays without trusting it.

A pickle is a program: the standard loader imports and calls whatever the file names. This one knows the four names
that CIFAR batch files hold, and answers each with a harmless stand-in; it imports nothing and calls nothing else.
"""

import io
import pickle
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from jaxtl.errors import UserError


def read_pickled_dict(raw: bytes, source: str, keys: Sequence[str]) -> dict[str, Any]:
    """Unpickle ``raw`` as a dictionary.

    Args:
      raw: the content of the file, written by Python 2, or by Python 3 with protocol 3 or 4.
      source: where it comes from, for error messages.
      keys: keys that the dictionary must have; byte strings count as the same text.

    Returns:
      The dictionary with text keys. Its arrays are read-only uint8; strings of Python 2 are ``bytes``.

    Raises:
      UserError: the file is truncated, names anything else than a uint8 array, or holds no such dictionary.
    """
    try:
        content = _Unpickler(raw, source).load()
    except UserError:
        raise
    except Exception as error:  # garbage can raise anything: the pickle module promises no narrower type
        raise _damaged(source, f"it cannot be unpickled ({str(error) or type(error).__name__})") from error
    if not isinstance(content, dict):
        raise _damaged(source, f"it holds a {type(content).__name__}, not a dictionary")
    entries = {_text(key): value.array if isinstance(value, _Array) else value for key, value in content.items()}
    if missing := [key for key in keys if key not in entries]:
        raise _damaged(source, f"its dictionary lacks {', '.join(missing)}")
    return entries


class _Array:
    """Stands for what ``_reconstruct`` makes: an empty array, which the pickle then fills through ``__setstate__``."""

    def __init__(self) -> None:
        self.array = np.zeros(0, np.uint8)

    def __setstate__(self, state: tuple) -> None:
        _version, shape, dtype, is_fortran, items = state
        if not isinstance(dtype, _Uint8) or not isinstance(items, bytes):
            raise pickle.UnpicklingError("it holds an array of another type than uint8")
        self.array = np.frombuffer(items, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _Uint8:
    """Stands for ``dtype("u1")``; its state is the byte order, which means nothing for single bytes."""

    def __setstate__(self, state: tuple) -> None:
        pass


def _stand_ins() -> dict[tuple[str, str], Any]:
    """The answer to each (module, name) a file may ask for.

    They are made anew for every file: a pickle can set attributes on a function it gets hold of.
    """

    def reconstruct(*_: Any) -> _Array:
        return _Array()

    def dtype(code: Any, *_: Any) -> _Uint8:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it holds an array of type {code!r}, not uint8")
        return _Uint8()

    return {
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): reconstruct,  # its address since NumPy 2
        ("numpy", "ndarray"): object(),  # only ever handed to _reconstruct
        ("numpy", "dtype"): dtype,
    }


class _Unpickler(pickle.Unpickler):
    def __init__(self, raw: bytes, source: str) -> None:
        super().__init__(io.BytesIO(raw), encoding="bytes")
        self._source = source
        self._stand_ins = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._stand_ins:
            raise _forbidden(self._source, f"{module}.{name}")
        return self._stand_ins[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _forbidden(self._source, f"the outside object {pid!r}")


def _text(key: Any) -> Any:
    return key.decode("latin-1") if isinstance(key, bytes) else key


def _forbidden(source: str, what: str) -> UserError:
    return UserError(
        f"{source} asks for {what}, which no CIFAR batch file needs and which could run code: nothing was run; replace "
        "the file with the official one"
    )


def _damaged(source: str, reason: str) -> UserError:
    return UserError(f"{source} is truncated or altered: {reason}; replace the file with the official one")
