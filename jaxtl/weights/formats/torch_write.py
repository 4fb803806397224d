"""Write a PyTorch file with numpy alone: the zip format of ``torch.save``, a state dict of plain tensors.

The description is a pickle that names three things: ``collections.OrderedDict``, torch's rebuilding of a tensor and the
type of its storage. ``torch.load(weights_only=True)`` knows them all. The names and the order of their arguments are
those of ``torch._utils._rebuild_tensor_v2`` and ``torch.serialization`` (torch 1.6 to 2.13).
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxtl.errors import UserError
from jaxtl.models.fit import shown
from jaxtl.runtime.files import user_path, write_errors_explained, write_whole
from jaxtl.weights.formats import arrays_by_name
from jaxtl.weights.formats.torch_pickle import STORAGE_DTYPES

_STORAGES = {dtype: name for name, dtype in STORAGE_DTYPES.items()}
_ROOT = "archive"
_ALIGNMENT = 64  # of torch's own files, so that a file can be mapped into memory
_LOCAL_HEADER = 30  # bytes before the name of an entry
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # no time of day: the same weights give the same file


def write_torch_file(state_dict: Mapping[str, Any], path: str | Path) -> None:
    """Write a state dict as ``torch.save`` would: a whole file or none. ``read_torch_file`` gives back the same bits.

    Args:
      state_dict: arrays by key, as ``to_torch`` returns them: of any shape, floating-point, complex, integer (signed,
        or unsigned of 8 bits) or bool.
      path: the file, by custom ``*.pth``; missing folders are made.

    Raises:
      UserError: for an array of another type, or if the file cannot be written.
    """
    arrays = {}
    for key, array in arrays_by_name(state_dict).items():
        arrays[key] = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if arrays[key].dtype not in _STORAGES:
            raise UserError(f"{shown(key)} is of type {array.dtype}, which torch has no storage for; convert it first.")
    entries: dict[str, Any] = {"data.pkl": _description(arrays), "byteorder": b"little"}
    entries |= {f"data/{i}": array.reshape(-1).view(np.uint8).data for i, array in enumerate(arrays.values())}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (entries | {"version": b"3\n"}).items():
            entry = zipfile.ZipInfo(f"{_ROOT}/{name}", _EARLIEST)
            padding = -(file.tell() + _LOCAL_HEADER + len(entry.filename) + 4) % _ALIGNMENT
            entry.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding  # as torch itself fills up
            archive.writestr(entry, content)
    with write_errors_explained(path):
        write_whole(user_path(path), file.getvalue())


# --- the pickle, in parts: pickle.Pickler asks to import what it names, and torch is not there ---


def _description(arrays: Mapping[str, np.ndarray]) -> bytes:
    pairs = b"".join(_plain(key) + _tensor(str(i), array) for i, (key, array) in enumerate(arrays.items()))
    state_dict = _EMPTY_ORDERED_DICT + pickle.MARK + pairs + pickle.SETITEMS
    return pickle.PROTO + b"\x02" + state_dict + pickle.STOP


def _tensor(key: str, array: np.ndarray) -> bytes:
    strides = tuple(stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides)
    kind = _name("torch", _STORAGES[array.dtype])
    storage = _tuple(_plain("storage"), kind, _plain(key), _plain("cpu"), _plain(array.size)) + pickle.BINPERSID
    # After the storage come the offset, shape and strides, whether a gradient is required, and hooks.
    arguments = _tuple(storage, *map(_plain, (0, array.shape, strides, False)), _EMPTY_ORDERED_DICT)
    return _name("torch._utils", "_rebuild_tensor_v2") + arguments + pickle.REDUCE


def _plain(value: Any) -> bytes:
    """A value of Python's own types: its pickle without header and end."""
    return pickle.dumps(value, protocol=2)[2:-1]


def _name(module: str, attribute: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


_EMPTY_ORDERED_DICT = _name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
