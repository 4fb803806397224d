"""Unpickle the description of a torch file without trusting it.

A pickle is a program: the standard loader imports and calls whatever the file names. This one knows the few names
that describe tensors and answers each with a stand-in that only takes notes: ``Storage`` and ``Tensor``. It imports
nothing and calls nothing else; a file that names anything else is refused by that name.

The names and the order of their arguments are those of ``torch._utils`` and ``torch.storage`` (torch 0.1 to 2.13).
"""

import io
import pickle
import reprlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, ClassVar

import numpy as np

from jaxtl.errors import UserError
from jaxtl.models.fit import shown
from jaxtl.weights.formats.torch_tensors import (
    SCALAR_DTYPES,
    STORAGE_DTYPES,
    Storage,
    Tensor,
    count,
    hashable,
    make_tensor,
    sizes,
)
from jaxtl.weights.problems import damaged, truncated


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


# No torch file has these opcodes: the first takes memory before it looks whether the file is that long, the others hash
# whatever the file puts into a set, and a tuple of tuples of tuples that are all one takes for ever.
_REFUSED = {op[0] for op in (pickle.BYTEARRAY8, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)}


# pickle.Unpickler, in C, sizes its memo by the largest index in the file, so that five altered bytes could take all
# memory; the one in Python keeps a dictionary. A file has a few thousand opcodes: a few hundredths of a second.
class TorchUnpickler(pickle._Unpickler):
    """Reads one pickle of a torch file; ``Storage`` and ``Tensor`` stand for torch's objects.

    Args:
      file: positioned at the pickle; stands behind it after ``load``.
      source: the file's name, for error messages.
      resolve: answers a persistent identifier; ``None`` for the one of zip and legacy files, a tuple.
    """

    stack: list[Any]  # these two are the parent's
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = {
        op: act for op, act in pickle._Unpickler.dispatch.items() if op not in _REFUSED
    }

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
            f"{self._source} asks for {shown(module)}.{shown(name)}, which is no part of a tensor and could run code: "
            "nothing was run; take a file that holds a state dict alone, or save one with "
            "torch.save(model.state_dict(), path)."
        )

    def get_extension(self, code: int) -> Any:
        """Refuse: extension codes stand for names of the process that wrote the file."""
        raise pickle.UnpicklingError(f"it uses the extension code {code}")

    def _fill(self, target: Any, items: list[Any]) -> None:
        """Put keys and values in turn into a dictionary."""
        if not isinstance(target, dict):
            raise pickle.UnpicklingError(f"it fills {type(target).__name__} as a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_plain(key)] = value

    def load_setitem(self) -> None:
        """One key and its value."""
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        """All keys and values behind a mark."""
        items = self.pop_mark()
        self._fill(self.stack[-1], items)

    def load_dict(self) -> None:
        """A dictionary of all keys and values behind a mark."""
        items = self.pop_mark()
        self.stack.append({})
        self._fill(self.stack[-1], items)

    dispatch |= {pickle.SETITEM[0]: load_setitem, pickle.SETITEMS[0]: load_setitems, pickle.DICT[0]: load_dict}

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

    def __init__(self, items: Any = ()) -> None:
        super().__init__((_plain(key), value) for key, value in items)  # Python 2 filled it at once

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


def _plain(key: Any) -> Any:
    """A key of a dictionary: one whose hash takes no time."""
    if not isinstance(key, str | int | float | bytes | None):
        raise pickle.UnpicklingError(f"it has {type(key).__name__} as the key of a dictionary")
    return key


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
        ("torch", "Size"): _Function(sizes),
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
        raise pickle.UnpicklingError(f"it asks for the outside object {reprlib.repr(pid)}")
    _, kind, key, _location, size, *view = pid
    dtype, size = dtype_of(kind), count(size)
    start, length = 0, size
    if view and view[0] is not None:
        _key, start, length = view[0]
        start, length = count(start), count(length)
        if start + length > size:
            raise pickle.UnpicklingError(f"a view ends at element {start + length:,} of {size:,}")
    return Storage(str(hashable(key)), dtype, size, start, length)


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
