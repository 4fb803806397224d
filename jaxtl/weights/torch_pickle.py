"""Unpickle the description of a torch file without trusting it.

A pickle is a program: the standard loader imports and calls whatever the file names. This one knows the few names
that describe tensors and answers each with a stand-in that only takes notes: ``Storage`` and ``Tensor``. It imports
nothing and calls nothing else; a file that names anything else is refused by that name.

The names and the order of their arguments are those of ``torch._utils`` and ``torch.storage`` (torch 0.1 to 2.13).
"""

import dataclasses
import io
import math
import pickle
from collections.abc import Callable, Hashable, Iterator
from typing import Any, BinaryIO, ClassVar

import ml_dtypes
import numpy as np

from jaxtl.errors import UserError

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


class _ExactFile:
    """What an unpickler reads from: a read that the file cannot fill is an ``EOFError``, before memory is taken."""

    def __init__(self, file: BinaryIO) -> None:
        here = file.tell()
        self._end = file.seek(0, io.SEEK_END)
        file.seek(here)
        self._file = file

    def read(self, size: int) -> bytes:
        if size > self._end - self._file.tell():
            raise EOFError
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line


# pickle.Unpickler, in C, sizes its memo by the largest index in the file, so that five altered bytes could take all
# memory; the one in Python keeps a dictionary. A file has a few thousand opcodes: a few hundredths of a second.
class TorchUnpickler(pickle._Unpickler):
    """Reads one pickle of a torch file; ``Storage`` and ``Tensor`` stand for torch's objects.

    Args:
      file: positioned at the pickle; stands behind it after ``load``.
      source: the file's name, for error messages.
      resolve: answers a persistent identifier; ``None`` for the one of zip and legacy files, a tuple.
    """

    # No torch file has this opcode, and it takes memory before it looks whether the file is that long.
    dispatch: ClassVar = {op: act for op, act in pickle._Unpickler.dispatch.items() if op != pickle.BYTEARRAY8[0]}

    def __init__(self, file: BinaryIO, source: str, resolve: Callable[[Any], Any] | None = None) -> None:
        super().__init__(_ExactFile(file), encoding="utf-8")
        self._source = source
        self._resolve = resolve or storage_of
        self._answers = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a name.

        Raises:
          UserError: for a name that describes no tensor.
        """
        if answer := self._answers.get((module, name)):
            return answer
        raise UserError(
            f"{self._source} asks for {module}.{name}, which is no part of a tensor and could run code: nothing was "
            "run; take a file that holds a state dict alone, or save one with torch.save(model.state_dict(), path)"
        )

    def get_extension(self, code: int) -> Any:
        """Refuse: extension codes stand for names of the process that wrote the file."""
        raise pickle.UnpicklingError(f"it uses the extension code {code}")

    def persistent_load(self, pid: Any) -> Any:
        """The storage or tensor that an identifier of the file stands for."""
        return self._resolve(pid)


def load(file: BinaryIO, source: str, part: str, resolve: Callable[[Any], Any] | None = None) -> Any:
    """Unpickle the next object of ``file``.

    Args:
      file: positioned at the pickle; stands behind it afterwards.
      source: the file's name, for error messages.
      part: what the pickle is, for error messages: "the list of storages", say.
      resolve: see ``TorchUnpickler``.

    Raises:
      UserError: if the pickle is truncated or altered, or names anything but tensors.
    """
    try:
        return TorchUnpickler(file, source, resolve).load()
    except UserError:
        raise
    except EOFError as error:
        raise truncated(source, f"{part} ends before its last byte") from error
    except Exception as error:  # garbage can raise anything: the pickle module promises no narrower type
        raise damaged(source, f"{part} cannot be unpickled ({str(error) or type(error).__name__})") from error


def truncated(source: str, what: str) -> UserError:
    """The error of a file that was cut short."""
    return UserError(f"{source} is truncated: {what}; get the file anew")


def damaged(source: str, what: str) -> UserError:
    """The error of a file whose bytes contradict each other."""
    return UserError(f"{source} is altered or damaged: {what}; get the file anew")


def tensors_in(tree: Any) -> Iterator[Tensor]:
    """All tensors in nested dictionaries, lists and tuples, each object visited once."""
    seen: set[int] = set()
    waiting = [tree]
    while waiting:
        node = unwrap(waiting.pop())
        if isinstance(node, Tensor):
            yield node
        elif isinstance(node, dict | list | tuple) and id(node) not in seen:
            seen.add(id(node))
            waiting.extend(node.values() if isinstance(node, dict) else node)


# --- stand-ins ---


class _Name:
    """Stands for something that a file may name but not use."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it sets the state of a name")


class _DtypeName(_Name):
    """Stands for ``torch.FloatStorage``, ``torch.float32``, ``torch.FloatTensor``: all that matters is the dtype."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype


class _Function(_Name):
    """Stands for a function or a class that is called."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Callable[..., Any]) -> None:
        self._answer = answer

    def __call__(self, *arguments: Any) -> Any:
        return self._answer(*arguments)


class _Dict(dict):
    """Stands for ``OrderedDict``: torch hangs attributes on a state dict (``_metadata``), which are dropped here."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Parameter:
    """Stands for ``torch.nn.Parameter`` as torch 0.1 wrote it: an empty object that gets its tensor as state."""

    __slots__ = ("data",)

    def __init__(self, data: Any = None) -> None:
        self.data = data

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 5:  # (data, gradient, hooks, requires_grad, volatile)
            self.data = state[0]


def unwrap(value: Any) -> Any:
    """The tensor inside a parameter; anything else as it is."""
    return value.data if isinstance(value, _Parameter) else value


def _stand_ins() -> dict[tuple[str, str], Any]:
    """The answer to each (module, name) a file may ask for; made anew for every file, so that none can spoil another.

    ``_rebuild_tensor`` is torch 0.1's, ``_rebuild_tensor_v2`` adds flags that mean nothing here, and ``_v3`` names
    the dtype because its storage is bytes.
    """
    answers: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): _Dict,
        ("torch", "Size"): _Function(_size),
        ("torch.nn.parameter", "Parameter"): _Parameter,
        ("torch._utils", "_rebuild_tensor"): _Function(_tensor),
        ("torch._utils", "_rebuild_tensor_v2"): _Function(lambda *values: _tensor(*values[:4])),
        ("torch._utils", "_rebuild_tensor_v3"): _Function(_tensor_of_bytes),
        ("torch._utils", "_rebuild_parameter"): _Function(lambda data, *_flags: data),
        ("torch._utils", "_rebuild_parameter_with_state"): _Function(lambda data, *_flags: data),
    }
    for name, dtype in STORAGE_DTYPES.items():
        tensor = name.replace("Storage", "Tensor")
        modules = ("torch", "torch.cuda", "torch.storage")
        answers |= {(module, kind): _DtypeName(dtype) for module in modules for kind in (name, tensor)}
    return answers | {("torch", name): _DtypeName(dtype) for name, dtype in SCALAR_DTYPES.items()}


def dtype_of(name: Any) -> np.dtype:
    """The dtype behind a name that the file gave where a storage or tensor type belongs.

    Raises:
      pickle.UnpicklingError: if it gave something else.
    """
    if not isinstance(name, _DtypeName):
        raise pickle.UnpicklingError(f"it has {type(name).__name__} where a storage type belongs")
    return name.dtype


def storage_of(pid: Any) -> Storage:
    """``("storage", type, key, location, number of elements)``, in old files with a view of the storage behind."""
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        raise pickle.UnpicklingError(f"it asks for the outside object {pid!r}")
    _, kind, key, _location, size, *view = pid
    dtype, size = dtype_of(kind), count(size)
    start, length = 0, size
    if view and view[0] is not None:
        _key, start, length = view[0]
        start, length = count(start), count(length)
        if start + length > size:
            raise pickle.UnpicklingError(f"a view ends at element {start + length:,} of {size:,}")
    return Storage(str(key), dtype, size, start, length)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError(f"it has {type(storage).__name__} where a storage belongs")
    return make_tensor(storage, storage.dtype, offset, shape, strides)


def _tensor_of_bytes(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, dtype: Any, *_metadata: Any
) -> Tensor:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError(f"it has {type(storage).__name__} where a storage belongs")
    return make_tensor(storage, dtype_of(dtype), offset, shape, strides)


def make_tensor(storage: Storage, dtype: np.dtype, offset: Any, shape: Any, strides: Any) -> Tensor:
    """A tensor whose numbers have been looked at.

    Raises:
      pickle.UnpicklingError: if a size or stride is no number from 0 up, or their counts differ.
    """
    shape, strides = _size(shape), _size(strides)
    if len(shape) != len(strides) or len(shape) > 32:
        raise pickle.UnpicklingError(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
    # Strides may repeat elements, as expand() does: a few bytes could describe an array larger than memory.
    if math.prod(shape) > max(storage.size, 1) * 4096:
        raise pickle.UnpicklingError(f"a tensor of shape {shape} repeats a storage of {storage.size} elements")
    return Tensor(storage, dtype, count(offset), shape, strides)


def count(number: Any) -> int:
    """A number that counts something.

    Raises:
      pickle.UnpicklingError: if it is no integer from 0 to 2**63 - 1.
    """
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**63:
        raise pickle.UnpicklingError(f"it has {number!r} where a number from 0 up belongs")
    return number


def _size(numbers: Any = ()) -> tuple[int, ...]:
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
