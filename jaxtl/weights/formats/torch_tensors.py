"""What a torch file says about its tensors, and how they become arrays: ``Storage``, ``Tensor``, ``Content``.

Their numbers come from a file that nobody vouches for, and each is looked at before it is used.
"""

import dataclasses
import math
import pickle
import reprlib
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import ml_dtypes
import numpy as np

# The element type behind each of torch's names. The file's bytes are little-endian unless a zip file says otherwise.
STORAGE_DTYPES: dict[str, np.dtype] = {
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "DoubleStorage": np.dtype("<f8"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
    "ComplexFloatStorage": np.dtype("<c8"),
    "ComplexDoubleStorage": np.dtype("<c16"),
    "UntypedStorage": np.dtype("u1"),
}
SCALAR_DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float64": np.dtype("<f8"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "bool": np.dtype("?"),
    "complex64": np.dtype("<c8"),
    "complex128": np.dtype("<c16"),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Storage:
    """A run of elements somewhere in the file, as the pickle describes it.

    Attributes:
      key: under which the file keeps the bytes.
      dtype: of the elements.
      size: number of elements of the whole storage.
      start: first element of the part that is meant; old files have views into a storage.
      length: number of elements of that part.
    """

    key: str
    dtype: np.dtype
    size: int
    start: int
    length: int

    def __setstate__(self, state: Any) -> None:
        """Refuse: a pickle must not change a storage after the fact."""
        raise pickle.UnpicklingError("it sets the state of a storage")

    @property
    def nbytes(self) -> int:
        """Bytes of the whole storage."""
        return self.size * self.dtype.itemsize


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """A window on a storage; offset and strides count elements of ``dtype``."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __setstate__(self, state: Any) -> None:
        """Refuse: a pickle must not change a tensor after the fact."""
        raise pickle.UnpicklingError("it sets the state of a tensor")

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor as an array of its own."""
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self, elements: np.ndarray) -> np.ndarray:
        """The tensor as an array of its own.

        Args:
          elements: the whole storage, ``[storage.size]``, of the storage's dtype.

        Raises:
          ValueError: if the tensor reaches outside its storage.
        """
        part = elements[self.storage.start : self.storage.start + self.storage.length]
        if self.dtype != self.storage.dtype:
            part = _as_dtype(part.view(np.uint8), self.dtype)
        reach = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        if self.offset + reach >= len(part):
            raise ValueError(
                f"it reaches to element {self.offset + reach:,} of a storage that holds {len(part):,} elements"
            )
        steps = [step * part.itemsize for step in self.strides]
        raw = part.view(np.uint8)  # numpy's own tools for strides do not know every type of ml_dtypes
        view = np.ndarray(self.shape, part.dtype, raw, self.offset * part.itemsize, steps)
        return view.copy()  # a copy, so that shared storages do not tie arrays together


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """What a torch file holds, while it is open.

    Attributes:
      tree: the unpickled object, with a ``Tensor`` for each of torch's.
      storage_bytes: reads all bytes of a storage.
      big_endian: the byte order of those bytes.
    """

    tree: Any
    storage_bytes: Callable[[Storage], bytes]
    big_endian: bool = False


def check_size(tensors: Iterable[Tensor], file_size: int) -> None:
    """Refuse tensors that take far more memory than their file: strides may repeat elements, as ``expand`` does.

    Raises:
      ValueError: if all together take more than four times the size of the file, and a mebibyte.
    """
    tensors = list(tensors)
    storages = {tensor.storage.key: tensor.storage.nbytes for tensor in tensors}
    needed = sum(tensor.nbytes for tensor in tensors) + sum(storages.values())
    if needed > 4 * file_size + 2**20:
        raise ValueError(f"its tensors would take {needed:,} bytes, but the file has {file_size:,}")


def elements(raw: bytes | memoryview, dtype: np.dtype, *, big_endian: bool = False) -> np.ndarray:
    """The bytes of a storage as ``[N]`` elements of ``dtype``.

    Args:
      raw: the bytes; their number is a multiple of the item size.
      dtype: of the elements, named in little-endian order.
      big_endian: whether the file was written by a big-endian machine.
    """
    if big_endian and dtype.itemsize > 1:
        words = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize  # a complex number is two words
        raw = np.frombuffer(raw, np.uint8).reshape(-1, words)[:, ::-1].tobytes()
    return _as_dtype(np.frombuffer(raw, np.uint8), dtype)


def _as_dtype(raw: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype == np.bool_:
        return raw != 0  # a byte other than 0 and 1 is no bool that numpy could hold
    return raw[: len(raw) // dtype.itemsize * dtype.itemsize].view(dtype)


# --- numbers of a file ---


def make_tensor(storage: Storage, dtype: np.dtype, offset: Any, shape: Any, strides: Any) -> Tensor:
    """A tensor whose numbers have been looked at.

    Raises:
      pickle.UnpicklingError: if a size or stride is no number from 0 up, or their counts differ.
    """
    shape, strides = sizes(shape), sizes(strides)
    if len(shape) != len(strides) or len(shape) > 32:
        raise pickle.UnpicklingError(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
    return Tensor(storage, dtype, count(offset), shape, strides)


def count(number: Any) -> int:
    """A number that counts something.

    Raises:
      pickle.UnpicklingError: if it is no integer from 0 to 2**63 - 1.
    """
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**63:
        raise pickle.UnpicklingError(f"it has {reprlib.repr(number)} where a number from 0 up belongs")
    return number


def sizes(numbers: Any = ()) -> tuple[int, ...]:
    """A shape, or the strides of a tensor.

    Raises:
      pickle.UnpicklingError: if they are no sequence of numbers from 0 up.
    """
    if not isinstance(numbers, tuple | list):
        raise pickle.UnpicklingError(f"it has {type(numbers).__name__} where sizes belong")
    return tuple(count(number) for number in numbers)


def hashable(key: Any) -> Hashable:
    """A key of the tar format as a dictionary key.

    Raises:
      pickle.UnpicklingError: if it is neither number nor text.
    """
    if not isinstance(key, int | str):
        raise pickle.UnpicklingError(f"it has {type(key).__name__} where a key belongs")
    return int(key) if isinstance(key, str) and key.isdecimal() else key
