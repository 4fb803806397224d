"""Read safetensors files with every type of number that numpy and ml_dtypes know: the library reads fewer."""

import json
import math
from pathlib import Path
from typing import Any, BinaryIO

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
