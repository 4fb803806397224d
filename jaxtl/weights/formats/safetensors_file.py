"""Read safetensors files with every type of number that numpy and ml_dtypes know: the library reads fewer."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from jaxtl.errors import UserError
from jaxtl.models.fit import shown
from jaxtl.weights.formats import damaged, truncated

_METADATA = "__metadata__"
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
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8:start]) if start <= len(content) else {}
        end = start + max((entry["data_offsets"][1] for name, entry in header.items() if name != _METADATA), default=0)
        if len(content) < end:
            raise truncated(str(path), f"it has {len(content):,} bytes where it should have {end:,} or more")
        arrays = {name: _array(name, entry, path) for name, entry in safetensors.deserialize(content)}
    except UserError:
        raise
    except _DAMAGE as error:
        raise damaged(str(path), str(error) or type(error).__name__) from error
    return arrays, header.get(_METADATA) or {}


def _array(name: str, entry: dict[str, Any], path: Path) -> np.ndarray:
    if (kind := entry["dtype"]) not in DTYPES:
        raise UserError(
            f"{path} holds the tensor {shown(name)} of type {kind}, which numpy does not have; convert it to F32 first."
        )
    return np.frombuffer(entry["data"], DTYPES[kind]).reshape(entry["shape"])
