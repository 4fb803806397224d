"""Read and write the weights of Keras with h5py: the HDF5 files of its applications, and ``.weights.h5`` of Keras 3.

Sources: keras 3.15, ``src/legacy/saving/legacy_h5_format.py`` and ``src/saving/saving_lib.py``.
"""

import importlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from jaxtl.errors import UserError
from jaxtl.models.fit import shown
from jaxtl.runtime.files import user_path, write_errors_explained, write_whole
from jaxtl.weights.formats import arrays_by_name, damaged

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# A layer's arrays, by their number: files keep this order, and old ones have names such as block1_conv1_W_1.
LEAVES = {
    1: ("kernel",),
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}


def is_hdf5(path: Path) -> bool:
    """Whether a file is in HDF5, the format of Keras; not if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


def read_keras_file(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file that Keras wrote: ``{"conv1_conv/kernel": …}``, by the name of the layer and of the array.

    Args:
      path: a file of ``save_weights``, in the format of Keras 3 (``.weights.h5``) or the one before (``.h5``, as
        Keras's applications have it), or a whole model in ``.h5``. Nothing in it is executed.

    Raises:
      UserError: if there is no such file, it is damaged, or it is another HDF5 file; if h5py is not installed.
    """
    path = user_path(path)
    h5py = _h5py(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the file in it.")
    try:
        with h5py.File(path, "r") as file:
            return _read(h5py, file, path)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}; correct the path.") from error
    except Exception as error:  # HDF5 says of a damaged file whatever it stumbles over
        raise damaged(str(path), str(error) or type(error).__name__) from error


def write_keras_file(arrays: Mapping[str, Any], path: str | Path) -> None:
    """Write arrays as ``to_keras`` returns them, for ``model.load_weights(path)``: a whole file or none.

    Args:
      arrays: by the name of the layer and of the array, in Keras's order of layers.
      path: the file, ``*.h5`` but not ``*.weights.h5``; missing folders are made.

    Raises:
      UserError: if the file cannot be written, or h5py is not installed.
    """
    h5py, arrays = _h5py(user_path(path)), arrays_by_name(arrays)
    content = io.BytesIO()
    layers: dict[str, list[str]] = {}
    for key in arrays:
        if not all(key.rpartition("/")):
            raise UserError(f"{shown(key)} does not name a layer and an array; write conv1_conv/kernel, for example.")
        layers.setdefault(key.rpartition("/")[0], []).append(key)
    with h5py.File(content, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"jax", b"3.0.0"
        for layer, keys in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [key.encode() for key in keys]
            for key in keys:
                group[key] = arrays[key]
    with write_errors_explained(path):
        write_whole(user_path(path), content.getvalue())


def _h5py(path: Path) -> ModuleType:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise UserError(
            f"{path} is a file of Keras, which h5py reads and writes: pip install 'jaxtl[keras]'."
        ) from error


def _read(h5py: ModuleType, file: Any, path: Path) -> dict[str, np.ndarray]:
    # Links lead to other files of this machine, and compressed data may swell; Keras writes neither.
    room = 4 * path.stat().st_size + 2**20
    arrays: dict[str, np.ndarray] = {}
    for layer, named in _layers(h5py, file, path):
        leaves = LEAVES.get(len(named), ())
        for i, (name, dataset) in enumerate(named):
            leaf = name.rpartition("/")[2].removesuffix(":0")
            leaf = leaves[i] if leaves and not any(leaf in known for known in LEAVES.values()) else leaf
            room -= dataset.nbytes
            if room < 0 or dataset.external or dataset.is_virtual:
                raise damaged(str(path), f"{shown(name)} does not keep its numbers in this file")
            array = np.asarray(dataset)
            if array.dtype.kind == "V" and array.dtype.itemsize == 2:
                array = array.view(ml_dtypes.bfloat16)
            arrays[f"{layer.replace('/', '_')}/{leaf}"] = array
    return arrays


def _layers(h5py: ModuleType, file: Any, path: Path) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """The name of each layer that has arrays, and these by name, in their order."""

    def at(group: Any, name: str) -> Any:
        for part in name.split("/"):
            if not isinstance(group.get(part, getlink=True), h5py.HardLink):
                raise damaged(str(path), f"{shown(name)} is missing, or a link")
            group = group[part]
        return group

    root = file.get("model_weights", file)
    if "layer_names" in root.attrs:
        for layer in map(_text, root.attrs["layer_names"]):
            group = at(root, layer)
            if names := [_text(name) for name in group.attrs["weight_names"]]:
                yield layer, [(name, at(group, name)) for name in names]
        return
    groups: list[tuple[str, Any]] = []
    file.visititems(lambda name, item: groups.append((name, item)))  # without links
    found = [item for name, item in groups if name.endswith("/vars") and "seed_generator" not in name]
    for group in found:
        if len(group) and not group.name.startswith("/optimizer"):
            if "name" not in group.attrs:
                raise UserError(
                    f"{path} does not have the names of its layers, which today's Keras writes; load it there, and "
                    "save it again."
                )
            yield _text(group.attrs["name"]), [(str(i), group[str(i)]) for i in range(len(group))]
    if not found:
        raise UserError(f"{path} is an HDF5 file, but Keras did not write it: it has no layers.")


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
