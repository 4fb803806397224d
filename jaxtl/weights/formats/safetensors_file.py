"""Read safetensors files with every type of number that numpy and ml_dtypes know."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors

from jaxtl.errors import UserError
from jaxtl.models.fit import shown
from jaxtl.weights.problems import damaged, truncated

# https://github.com/huggingface/safetensors, enum Dtype; types of less than a byte have no counterpart here.
DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "C64": np.dtype("<c8"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins with these bytes is one: the length of a header in eight bytes, and a JSON object."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a file by name, each its own memory, and the file's metadata.

    Raises:
      UserError: if the file is truncated or damaged, or holds a type that numpy does not have.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:  # checks that header and length agree
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, ValueError) as error:
        raise _incomplete(path) or damaged(str(path), str(error)) from error
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        arrays = {}
        for name, entry in header.items():
            if name != "__metadata__":
                start, stop = entry["data_offsets"]
                file.seek(8 + length + start)
                raw = np.frombuffer(file.read(stop - start), _dtype(name, entry["dtype"], path))
                arrays[name] = raw.reshape(entry["shape"]).copy()
    return arrays, metadata


def _dtype(name: str, kind: str, path: Path) -> np.dtype:
    if kind not in DTYPES:
        raise UserError(
            f"{path} holds the tensor {shown(name)} of type {kind}, which numpy does not have; convert it to F32 first."
        )
    return DTYPES[kind]


def _incomplete(path: Path) -> UserError | None:
    """The error of a file that ends too early, if that is what is wrong with it."""
    end = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        raw = file.read(length)
    if len(raw) < length:
        return truncated(str(path), f"its header lacks {length - len(raw):,} of its {length:,} bytes")
    try:
        entries = {key: value["data_offsets"] for key, value in json.loads(raw).items() if key != "__metadata__"}
        first = min((k for k in entries if 8 + length + entries[k][1] > end), key=lambda k: entries[k][1], default=None)
        if first is None:
            return None
        start, stop = entries[first]
        lacking = 8 + length + stop - max(end, 8 + length + start)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return truncated(
        str(path),
        f"it ends after {end:,} bytes, where the tensor {first} lacks {lacking:,} of its {stop - start:,} bytes",
    )
