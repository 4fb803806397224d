"""Read the tensors of a PyTorch file with numpy alone: no torch, and nothing in the file is executed."""

import reprlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from jaxtl.errors import UserError
from jaxtl.models.fit import shown
from jaxtl.weights.formats import torch_legacy, torch_tar, torch_zip
from jaxtl.weights.formats.safetensors_file import is_safetensors, read_safetensors
from jaxtl.weights.formats.torch_pickle import unwrap
from jaxtl.weights.formats.torch_tensors import Content, Tensor, check_size, elements
from jaxtl.weights.problems import damaged

# Under which name training scripts keep the state dict in a checkpoint that holds more, the likeliest first.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "params", "weights")
# What DataParallel and torch.compile put in front of every key.
PREFIXES = ("module.", "_orig_mod.")

StateDict = dict[str, np.ndarray]


def read_torch_file(path: str | Path) -> StateDict:
    """The state dict in a file that ``torch.save`` or ``safetensors`` wrote.

    The format is told by the content, not by the name: zip (torch 1.6 and later), plain pickle (earlier), tar (2017
    and earlier) and safetensors. Of a checkpoint, the state dict is taken (see ``WRAPPERS``); a prefix that
    ``DataParallel`` or ``torch.compile`` put in front of all keys is taken off.

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
    path = Path(path)
    try:
        arrays, metadata = _read(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; name a file that can be.") from error
    return _without_prefix(arrays), metadata


def _read(path: Path) -> tuple[StateDict, dict[str, str]]:
    with path.open("rb") as file:
        head = file.read(512)
    if is_safetensors(head):
        return read_safetensors(path)
    opener = _opener(head)
    if opener is None:
        raise UserError(f"{path} is no file of weights: {_what_else(head)}; get the file anew.")
    with opener(path) as content:
        tensors = _state_dict(content.tree, str(path))
        try:
            check_size(tensors.values(), path.stat().st_size)
        except ValueError as error:
            raise damaged(str(path), str(error)) from error
        return _arrays(tensors, content, str(path)), {}


def _opener(head: bytes) -> Callable[[Path], AbstractContextManager[Content]] | None:
    """The reader for a file that begins with these bytes."""
    if head.startswith(torch_zip.SIGNATURE):
        return torch_zip.open_zip
    if torch_tar.is_tar(head):
        return torch_tar.open_tar
    if head.startswith(b"\x80"):
        return torch_legacy.open_legacy
    return None


def _what_else(head: bytes) -> str:
    """Name what a file is that begins with these bytes and holds no weights."""
    start = head.lstrip().lower()
    if not head:
        return "it is empty"
    if start.startswith((b"<!doctype", b"<html")):
        return "it is a web page, perhaps the error page of a download"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, which stands for a file that was not fetched"
    return f"it begins with {head[:8].hex(' ')}, which is no zip, tar, pickle or safetensors file"


# --- state dicts ---


def _state_dict(tree: Any, source: str) -> Mapping[str, Tensor]:
    """The dictionary of tensors in an unpickled object."""
    for _ in range(8):  # deeper than any script nests, and a pickle can hold itself
        if not isinstance(tree, dict):
            kind = "a tensor" if isinstance(unwrap(tree), Tensor) else f"a {type(tree).__name__}"
            raise UserError(f"{source} holds {kind}, not a dictionary of tensors; save model.state_dict().")
        tensors = {key: unwrap(value) for key, value in tree.items()}
        if tensors and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in tensors.items()):
            return tensors
        inner = next((tree[name] for name in WRAPPERS if isinstance(tree.get(name), dict) and tree[name]), None)
        if inner is None:
            break
        tree = inner
    keys = ", ".join(reprlib.repr(key) for key in list(tree)[:8]) + (", …" if len(tree) > 8 else "")
    raise UserError(
        f"{source} holds no state dict: its keys are {keys or 'none'}, and a state dict has tensors alone, or stands "
        f"under one of {', '.join(WRAPPERS)}."
    )


def _arrays(tensors: Mapping[str, Tensor], content: Content, source: str) -> StateDict:
    """The tensors as arrays; a storage that several share is read once, and let go after the last."""
    last = {tensor.storage.key: key for key, tensor in tensors.items()}
    held: dict[tuple[str, np.dtype], np.ndarray] = {}
    arrays = {}
    for key, tensor in tensors.items():
        storage = tensor.storage
        place = storage.key, storage.dtype
        if place not in held:
            # A storage of bytes takes its element type, and with it the width of a swap, from the tensor.
            swap = content.big_endian
            width = tensor.dtype if swap and storage.dtype == np.uint8 else storage.dtype
            raw = elements(content.storage_bytes(storage), width, big_endian=swap)
            held[place] = raw.view(storage.dtype) if raw.dtype.itemsize != storage.dtype.itemsize else raw
        try:
            arrays[key] = tensor.array(held[place])
        except ValueError as error:
            raise damaged(source, f"the tensor {shown(key)} does not fit its storage: {error}") from error
        if last[storage.key] == key:
            del held[place]
    return arrays


def _without_prefix(state_dict: StateDict) -> StateDict:
    for prefix in PREFIXES:
        while state_dict and all(key.startswith(prefix) for key in state_dict):
            state_dict = {key.removeprefix(prefix): array for key, array in state_dict.items()}
    return state_dict
