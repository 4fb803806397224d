"""What a torch file says about its tensors, and how they become arrays.

The description of a file is a pickle. The few names that describe tensors are answered with stand-ins that only take
notes, ``Storage`` and ``Tensor``; a file that names anything else is refused by that name. Every number of the file is
checked before it is used.

The names and the order of their arguments are those of ``torch._utils`` and ``torch.storage`` (torch 0.1 to 2.13).
"""

import dataclasses
import reprlib
from collections.abc import Callable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from jaxtl.errors import UserError
from jaxtl.models.fit import shown
from jaxtl.runtime.unpickle import ForbiddenError, Name, UnpickleError, plain_key, unpickle
from jaxtl.weights.formats import damaged, truncated

MOST_DIMENSIONS = 32

# numpy's name of a type, and what torch puts before "Storage" and "Tensor"; newer types have storages of bytes.
_STORAGES = {
    "float32": "Float", "float16": "Half", "bfloat16": "BFloat16", "float64": "Double", "int64": "Long",
    "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool",
    "complex64": "ComplexFloat", "complex128": "ComplexDouble",
}  # fmt: skip
_NEWER = ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2")


def _dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


STORAGE_DTYPES = {f"{prefix}Storage": _dtype(name) for name, prefix in _STORAGES.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Storage:
    """``size`` elements under ``key`` in the file."""

    key: str
    dtype: np.dtype
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.size * self.dtype.itemsize


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """A window on a storage; offset and strides count elements of ``dtype``."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, raw: np.ndarray) -> np.ndarray:
        """The tensor as an array of its own; ``raw`` is the whole storage as uint8 ``[nbytes]``, little-endian.

        Raises:
          ValueError: if the tensor reaches outside its storage.
        """
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        width = self.dtype.itemsize
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if (last + 1) * width > len(raw):
            raise ValueError(f"it reaches to element {last:,} of a storage that holds {len(raw) // width:,} elements")
        if self.dtype == np.bool_:
            raw = raw != 0  # a byte other than 0 and 1 is not a bool that numpy could hold
        # numpy's own tools for strides do not know every type of ml_dtypes. One element has a stride of any number.
        steps = [step * width if n > 1 else width for n, step in zip(self.shape, self.strides, strict=True)]
        view = np.ndarray(self.shape, self.dtype, raw.view(np.uint8), self.offset * width, steps)
        return view.copy()  # so that shared storages do not tie arrays together


# An open torch file: the unpickled object with its tensors, and what reads a storage, little-endian.
Content = tuple[Any, Callable[[Storage], bytes]]


def load(file: BinaryIO, source: str, part: str, on_storage: Callable[[Storage], Any] = lambda storage: None) -> Any:
    """Unpickle the next object of ``file``, and call ``on_storage`` with each storage that it names.

    Error messages name the file as ``source`` and the object as ``part``, for example "the list of storages".

    Raises:
      UserError: if the pickle is truncated or altered, or names anything but tensors.
    """

    def persistent(identifier: Any) -> Storage:
        storage = _storage(identifier)
        on_storage(storage)
        return storage

    try:
        return unpickle(file, _STAND_INS, persistent=persistent)
    except ForbiddenError as error:
        raise UserError(
            f"{source} asks for {shown(str(error))}, which is not part of a tensor and could run code: nothing was "
            "run; take a file that holds a state dict alone, or save one with torch.save(model.state_dict(), path)."
        ) from error
    except EOFError as error:
        raise truncated(source, f"{part} ends before its last byte") from error
    except UnpickleError as error:
        raise damaged(source, f"{part} cannot be unpickled ({error})") from error


# --- stand-ins ---


class _OrderedDict(dict):
    """Stands for ``OrderedDict``."""

    def __init__(self, items: Any = ()) -> None:
        super().__init__((plain_key(key), value) for key, value in items)  # Python 2 filled it at once

    def set_state(self, state: Any) -> None:
        """Drop the attributes that torch hangs on a state dict (``_metadata``)."""


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any, dtype: np.dtype | None = None) -> Tensor:
    if not isinstance(storage, Storage):
        raise UnpickleError(f"it has {type(storage).__name__} where a storage belongs")
    shape, strides = _sizes(shape), _sizes(strides)
    if len(shape) != len(strides):
        raise UnpickleError(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
    return Tensor(storage, dtype or storage.dtype, _count(offset), shape, strides)


def _storage(identifier: Any) -> Storage:
    """``("storage", type, key, location, number of elements)``, in old files with a view behind: ``None``."""
    if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or identifier[0] != "storage":
        raise UnpickleError(f"it asks for the outside object {reprlib.repr(identifier)}")
    _, kind, key, _location, size, *view = identifier
    if not isinstance(key, int | str):
        raise UnpickleError(f"it has {type(key).__name__} where a key belongs")
    if view not in ([], [None]):
        raise UnpickleError("it has a view of a storage, as torch wrote them before 0.4")
    return Storage(str(key), _dtype_of(kind), _count(size))


def _dtype_of(kind: Any) -> np.dtype:
    """The dtype behind a name that the file gives where the type of a storage or tensor belongs."""
    if not isinstance(kind, Name) or not isinstance(kind.call, np.dtype):
        raise UnpickleError(f"it has {type(kind).__name__} where a storage type belongs")
    return kind.call


def _count(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 2**63:
        raise UnpickleError(f"it has {reprlib.repr(number)} where a number from 0 up belongs")
    return number


def _sizes(numbers: Any = ()) -> tuple[int, ...]:
    if not isinstance(numbers, tuple | list) or len(numbers) > MOST_DIMENSIONS:
        raise UnpickleError(f"it has {type(numbers).__name__} where at most {MOST_DIMENSIONS} sizes belong")
    return tuple(_count(number) for number in numbers)


# ``_rebuild_tensor`` is torch 0.1's, ``_v2`` adds flags that mean nothing here, ``_v3`` names the dtype because its
# storage is bytes.
_STAND_INS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _OrderedDict,
    ("torch", "Size"): _sizes,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): lambda *given: _tensor(*given[:4], dtype=_dtype_of(given[6])),
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *_: data,
    **{
        (module, name): dtype
        for module in ("torch", "torch.cuda", "torch.storage")
        for name, dtype in {**STORAGE_DTYPES, "UntypedStorage": np.dtype("u1")}.items()
    },
    **{("torch", name): _dtype(name) for name in (*_STORAGES, *_NEWER)},
}
