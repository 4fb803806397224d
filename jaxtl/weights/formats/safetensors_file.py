"""Read safetensors files with every type of number that numpy and ml_dtypes know."""

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from jaxtl.errors import UserError
from jaxtl.models.fit import shown
from jaxtl.weights.formats import damaged, truncated

MOST_DIMENSIONS = 32
_METADATA = "__metadata__"
_DAMAGE = (safetensors.SafetensorError, RecursionError, ValueError, LookupError, TypeError, OverflowError)

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
    end = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        raw_header = file.read(length)
        if lacking := length - len(raw_header):
            raise truncated(str(path), f"its header lacks {lacking:,} of its {length:,} bytes")
        try:
            header = json.loads(raw_header)
            entries = [(name, entry, *entry["data_offsets"]) for name, entry in header.items() if name != _METADATA]
            for name, _, start, stop in sorted(entries, key=lambda item: item[2:]):
                size, lacking = stop - start, 8 + length + stop - end
                if lacking > 0:
                    lacks = f"the tensor {name} lacks {min(lacking, size):,} of its {size:,} bytes"
                    raise truncated(str(path), f"it ends after {end:,} bytes, where {lacks}")
            with safetensors.safe_open(path, framework="np") as checked:  # header and length agree, nothing overlaps
                metadata = checked.metadata() or {}
            arrays = {}
            for name, entry, start, stop in entries:
                file.seek(8 + length + start)
                arrays[name] = _array(name, entry, file.read(stop - start), path)
        except UserError:
            raise
        except _DAMAGE as error:
            raise damaged(str(path), str(error) or type(error).__name__) from error
    return arrays, metadata


def _array(name: str, entry: dict[str, Any], raw: bytes, path: Path) -> np.ndarray:
    kind, shape = entry["dtype"], entry["shape"]
    if kind not in DTYPES:
        raise UserError(
            f"{path} holds the tensor {shown(name)} of type {kind}, which numpy does not have; convert it to F32 first."
        )
    if len(shape) > MOST_DIMENSIONS or math.prod(n for n in shape if n) >= 2**62:
        raise damaged(str(path), f"the tensor {name} has the shape {shape[:MOST_DIMENSIONS]}")
    return np.frombuffer(raw, DTYPES[kind]).reshape(shape).copy()
