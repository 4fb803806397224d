"""Torch files written byte by byte: the tests need no torch, and know what every byte means."""

import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGE_NAMES = {
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "float64": "DoubleStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}


class Window(NamedTuple):
    """A tensor as a window on a storage; ``None`` for shape: all of it."""

    storage: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


# --- pickle opcodes ---


def pickled(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def list_of(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def dict_of(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def ordered_dict_of(items: Mapping[str, bytes]) -> bytes:
    """With the attribute that torch hangs on a state dict."""
    pairs = b"".join(text(key) + value for key, value in items.items())
    filled = name("collections", "OrderedDict") + b")R(" + pairs + b"u"
    return filled + dict_of({"_metadata": name("collections", "OrderedDict") + b")R"}) + b"b"


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + tuple_of(*arguments) + b"R"


NONE, TRUE, FALSE = b"N", b"\x88", b"\x89"
EMPTY_HOOKS = name("collections", "OrderedDict") + b")R"


def sizes(numbers: Sequence[int]) -> bytes:
    return tuple_of(*map(integer, numbers))


def storage_id(key: str, array: np.ndarray, *view: bytes) -> bytes:
    kind = name("torch", STORAGE_NAMES[array.dtype.name])
    return tuple_of(text("storage"), kind, text(key), text("cpu"), integer(array.size), *view) + b"Q"


def tensor(window: Window, storages: Mapping[str, np.ndarray], *view: bytes) -> bytes:
    return call(
        "torch._utils",
        "_rebuild_tensor_v2",
        storage_id(window.storage, storages[window.storage], *view),
        integer(window.offset),
        sizes(window.shape),
        sizes(window.strides),
        FALSE,
        EMPTY_HOOKS,
    )


def windows_of(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Window], dict[str, np.ndarray]]:
    """Every array as all of a storage of its own."""
    storages = {str(i): array.reshape(-1) for i, array in enumerate(arrays.values())}
    windows = {}
    for i, (key, array) in enumerate(arrays.items()):
        strides = tuple(int(np.prod(array.shape[axis + 1 :], dtype=int)) for axis in range(array.ndim))
        windows[key] = Window(str(i), array.shape, strides)
    return windows, storages


def described(windows: Mapping[str, Window], storages: Mapping[str, np.ndarray]) -> bytes:
    return ordered_dict_of({key: tensor(window, storages) for key, window in windows.items()})


# --- containers ---


def zip_bytes(entries: Mapping[str, bytes], *, streamed: bool = True, method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file as torch writes it: local headers without sizes, a descriptor after each entry."""
    body, directory = bytearray(), b""
    for entry, raw in entries.items():
        encoded, crc = entry.encode(), zlib.crc32(raw)
        packed = zlib.compress(raw, wbits=-15) if method == zipfile.ZIP_DEFLATED else raw
        flags = 0x0808 if streamed else 0x0800
        known = struct.pack("<III", crc, len(packed), len(raw))
        extra = struct.pack("<2sH", b"FB", 4) + b"ZZZZ"
        common = struct.pack("<HHHHH", 0, flags, method, 0, 0)
        start = len(body)
        body += b"PK\x03\x04" + common + (bytes(12) if streamed else known)
        body += struct.pack("<HH", len(encoded), len(extra)) + encoded + extra + packed
        body += b"PK\x07\x08" + known if streamed else b""
        directory += b"PK\x01\x02" + struct.pack("<H", 0) + common + known
        directory += struct.pack("<HHHHHII", len(encoded), 0, 0, 0, 0, 0, start) + encoded
    count = len(entries)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body) + directory + end


def zip_file(description: bytes, storages: Mapping[str, np.ndarray], root: str = "archive/") -> bytes:
    entries = {f"{root}data.pkl": pickled(description), f"{root}byteorder": b"little"}
    entries |= {f"{root}data/{key}": array.tobytes() for key, array in storages.items()}
    return zip_bytes(entries | {f"{root}version": b"3\n"})


def legacy_file(description: bytes, storages: Mapping[str, np.ndarray]) -> bytes:
    head = pickled(integer(MAGIC)) + pickled(integer(PROTOCOL))
    head += pickled(dict_of({"little_endian": TRUE, "protocol_version": integer(PROTOCOL)}))
    order = pickled(list_of(*(text(key) for key in storages)))
    blocks = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values())
    return head + pickled(description) + order + blocks


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Real weight files, which carry licences of their own and lie beside the repository: ``../shared/weights``."""
    folder = Path(__file__).parents[3] / "shared" / "weights"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: it holds the real weight files that this test reads")
    return folder


@pytest.fixture(scope="session")
def writer() -> ModuleType:
    """This module: what writes torch files."""
    return sys.modules[__name__]
