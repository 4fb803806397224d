"""Read the tensors of a PyTorch file with numpy alone: no torch, and nothing in the file is executed."""

import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxtl.errors import UserError
from jaxtl.models.fit import shown
from jaxtl.runtime.files import user_path
from jaxtl.weights.formats import damaged, torch_legacy, torch_zip
from jaxtl.weights.formats.safetensors_file import is_safetensors, read_safetensors
from jaxtl.weights.formats.torch_pickle import Storage, Tensor

# Under which name training scripts keep the state dict in a checkpoint that holds more, the likeliest first.
WRAPPERS = (
    "state_dict", "model_state_dict", "model", "net", "network", "module", "params", "weights",
    "state_dict_ema", "model_ema", "ema_state_dict", "ema",
)  # fmt: skip
# What DataParallel and torch.compile put in front of every key.
PREFIXES = ("module.", "_orig_mod.")

StateDict = dict[str, np.ndarray]


def read_torch_file(path: str | Path) -> StateDict:
    """The state dict in a file that ``torch.save`` or ``safetensors`` wrote.

    The format is told by the content, not by the name: zip (torch 1.6 and later), plain pickle (earlier) and
    safetensors. Of a checkpoint, the state dict is taken (see ``WRAPPERS``); a prefix that ``DataParallel`` or
    ``torch.compile`` put in front of all keys is taken off.

    Args:
      path: the file.

    Returns:
      Arrays by key, in the file's order and with torch's shapes: each C-contiguous, writeable and its own memory.
      bfloat16 and float8 are the types of ``ml_dtypes``.

    Raises:
      UserError: if there is no such file; if it is truncated (with what is missing), altered, or of another format; if
        it names anything but tensors, which is then named and not run; if it holds no state dict.
    """
    return read_with_metadata(path)[0]


def read_with_metadata(path: str | Path) -> tuple[StateDict, dict[str, str]]:
    """``read_torch_file``, and the metadata that a safetensors file may have."""
    try:
        arrays, metadata = _read(user_path(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; name a file that can be.") from error
    for prefix in PREFIXES * 2:  # in any order
        while arrays and all(key.startswith(prefix) for key in arrays):
            arrays = {key.removeprefix(prefix): array for key, array in arrays.items()}
    return arrays, metadata


def _read(path: Path) -> tuple[StateDict, dict[str, str]]:
    with path.open("rb") as file:
        head = file.read(512)
    if is_safetensors(head):
        return read_safetensors(path)
    if head.startswith(torch_zip.SIGNATURE):
        opened = torch_zip.open_zip(path)
    elif head.startswith(b"\x80"):
        opened = torch_legacy.open_legacy(path)
    else:
        raise UserError(f"{path} is not a file of weights: {_what_else(head)}.")
    with opened as (tree, storage_bytes):
        tensors = _state_dict(tree, str(path))
        by_storage: dict[Storage, list[str]] = {}
        for key, tensor in tensors.items():
            by_storage.setdefault(tensor.storage, []).append(key)
        needed = sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in tensors.values())
        needed += sum(storage.nbytes for storage in by_storage)
        if needed > 4 * (size := path.stat().st_size) + 2**20:  # strides may repeat elements, as ``expand`` does
            raise damaged(str(path), f"its tensors would take {needed:,} bytes, but the file has {size:,}")
        arrays: StateDict = {}
        for storage, keys in by_storage.items():
            raw = np.frombuffer(storage_bytes(storage), np.uint8)
            for key in keys:
                try:
                    arrays[key] = tensors[key].array(raw)
                except ValueError as error:
                    what = f"the tensor {shown(key)} does not fit its storage: {error}"
                    raise damaged(str(path), what) from error
        return {key: arrays[key] for key in tensors}, {}


def _what_else(head: bytes) -> str:
    """Name what a file is that begins with these bytes and holds no weights, and the way out."""
    start = head.lstrip().lower()
    again = "; get the file again"
    if not head:
        return "it is empty" + again
    if head[257:262] == b"ustar":
        return (
            "it is a tar file, the format of torch before 2018, which is not read; load it with PyTorch and save it "
            "with torch.save(state_dict, path)"
        )
    if start.startswith((b"<!doctype", b"<html")):
        return "it is a web page, perhaps the error page of a download" + again
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, which stands for a file that was not fetched; run git lfs pull"
    return f"it begins with {head[:8].hex(' ')}, as no zip, pickle or safetensors file does{again}"


# --- state dicts ---


def innermost(checkpoint: Any) -> Any:
    """What a checkpoint holds under ``WRAPPERS``, one in the other; another object as it is."""
    for _ in range(8):  # deeper than any script nests, and a pickle can hold itself
        if not isinstance(checkpoint, Mapping):
            break
        found = (checkpoint.get(name) for name in WRAPPERS)
        checkpoint = next((each for each in found if isinstance(each, Mapping) and each), checkpoint)
    return checkpoint


def _state_dict(tree: Any, source: str) -> Mapping[str, Tensor]:
    """The dictionary of tensors in an unpickled object."""
    tree = innermost(tree)
    if not isinstance(tree, dict):
        kind = "a tensor" if isinstance(tree, Tensor) else f"a {type(tree).__name__}"
        raise UserError(f"{source} holds {kind}, not a dictionary of tensors; save model.state_dict().")
    if tree and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in tree.items()):
        return tree
    keys = ", ".join(reprlib.repr(key) for key in list(tree)[:8]) + (", …" if len(tree) > 8 else "")
    raise UserError(
        f"{source} holds no state dict: its keys are {keys or 'none'}, and a state dict has tensors alone, or stands "
        f"under one of {', '.join(WRAPPERS)}."
    )
