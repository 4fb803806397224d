"""safetensors files: those of others, and ours with keys such as ``params/stem/conv/kernel`` and a hash of all tensors.

They are read with every type of number that numpy and ml_dtypes know: the library reads fewer.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
import safetensors.numpy
from flax import traverse_util

from jaxtl.errors import UserError
from jaxtl.models.fit import leaves, shown
from jaxtl.runtime.files import user_path, write_errors_explained, write_whole
from jaxtl.weights.formats import arrays_by_name, damaged, truncated

_METADATA = "__metadata__"
_DIGEST = "tensors_sha256"  # its name in the metadata
_DAMAGE = (safetensors.SafetensorError, RecursionError, ValueError, LookupError, TypeError, AttributeError)

# https://github.com/huggingface/safetensors, enum Dtype; types of less than a byte have no counterpart here.
DTYPES = {
    kind: np.dtype(getattr(ml_dtypes, name, name))
    for kind, name in {
        "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64", "BOOL": "bool",
        "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
        "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
        "F8_E4M3": "float8_e4m3fn", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2": "float8_e5m2",
        "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu",
    }.items()
}  # fmt: skip


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins with these bytes is one: the length of a header in eight bytes, and a JSON object."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a file by name, each its own memory, and the file's metadata.

    Raises:
      UserError: if the file is truncated or damaged, or holds a type that numpy does not have.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:  # read array by array: large ones would else be in memory twice
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8)) if start <= size else {}
            metadata = header.pop(_METADATA, None) or {}
            end = start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
            if size < end:
                raise truncated(str(path), f"it has {size:,} bytes where it should have {end:,} or more")
            with safetensors.safe_open(path, framework="np"):  # checks that shapes and places agree
                arrays = {name: _array(name, entry, file, start) for name, entry in header.items()}
    except UserError:
        raise
    except _DAMAGE as error:
        raise damaged(str(path), str(error) or type(error).__name__) from error
    return arrays, metadata


def _array(name: str, entry: dict[str, Any], file: BinaryIO, start: int) -> np.ndarray:
    if (kind := entry["dtype"]) not in DTYPES:
        raise UserError(
            f"{file.name} holds the tensor {shown(name)} of type {kind}, which numpy does not have; convert it to F32 "
            "first."
        )
    file.seek(start + entry["data_offsets"][0])
    return np.fromfile(file, DTYPES[kind], math.prod(entry["shape"])).reshape(entry["shape"])


# --- ours ---


def save(variables: Mapping[str, Any], path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``{"params": …, "batch_stats": …}`` and notes: a whole file or none; missing folders are made.

    Raises:
      UserError: if the variables are not a nested dictionary, or the file cannot be written.
    """
    save_arrays(leaves(variables), path, metadata)


def save_arrays(arrays: Mapping[str, Any], path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays by name, and a hash of them, as safetensors: a whole file or none.

    Raises:
      UserError: if the file cannot be written.
    """
    arrays = arrays_by_name(arrays)
    noted = {str(name): str(value) for name, value in (metadata or {}).items()} | {_DIGEST: digest(arrays)}
    with write_errors_explained(path):
        write_whole(user_path(path), safetensors.numpy.save(arrays, noted))


def is_ours(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether the names in a file are those that ``save`` gives."""
    return bool(arrays) and all(name.startswith(("params/", "batch_stats/")) for name in arrays)


def unflattened(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], source: str
) -> dict[str, dict[str, Any]]:
    """The variables of a file that ``save`` wrote; half precision, a way to store weights, becomes float32.

    Raises:
      UserError: if they are not those that were saved.
    """
    noted = metadata.get(_DIGEST)
    if noted is not None and noted != digest(arrays):
        raise damaged(source, "its tensors do not have the SHA-256 that was saved with them")
    wide = {name: array.astype(np.float32) if array.itemsize == 2 else array for name, array in arrays.items()}
    return traverse_util.unflatten_dict(wide, sep="/")


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and bytes, in hexadecimal."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()
