"""Variables as safetensors: keys such as ``params/stem/conv/kernel``, guarded by a hash of all tensors."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from flax import traverse_util

from jaxtl.models.fit import leaves
from jaxtl.runtime.files import user_path, write_errors_explained, write_whole
from jaxtl.weights.formats import arrays_by_name, damaged

DIGEST = "tensors_sha256"  # its name in the file's metadata


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
    noted = {str(name): str(value) for name, value in (metadata or {}).items()} | {DIGEST: digest(arrays)}
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
    noted = metadata.get(DIGEST)
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
