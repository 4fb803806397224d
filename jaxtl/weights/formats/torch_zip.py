"""torch's zip format, the default since torch 1.6: ``<root>/data.pkl`` and one stored entry a storage.

The entries are read through the directory at the file's end, so that local headers without sizes (torch streams its
files) are no matter; what is missing of a file without that directory is found by walking over the local headers.
"""

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from jaxtl.errors import UserError
from jaxtl.weights.formats.torch_pickle import load, tensors_in
from jaxtl.weights.formats.torch_tensors import Content, Storage
from jaxtl.weights.problems import damaged, truncated

SIGNATURE = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")
_STREAMED = 1 << 3  # flag: the sizes follow the data, in a descriptor
_DESCRIPTOR = b"PK\x07\x08"
_PICKLE = "data.pkl"
_DESCRIPTION = "the description of the tensors"


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[Content]:
    """Open a file in zip format.

    Raises:
      UserError: if the file is truncated or altered, holds no torch data, or names anything but tensors. A checksum
        guards every entry; files written with ``torch.serialization.set_crc32_options(False)`` have none and are
        refused.
    """
    source = str(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError) as error:
        raise _without_directory(path, error) from error
    with archive:
        names = {entry.filename: entry for entry in archive.infolist()}
        pickles = sorted((n for n in names if n == _PICKLE or n.endswith("/" + _PICKLE)), key=len)
        if not pickles:
            raise UserError(f"{source} is a zip file without a data.pkl: torch.save did not write it.")
        root = pickles[0].removesuffix(_PICKLE)

        def entry(name: str) -> bytes:
            return _entry(archive, names, root + name, source)

        tree = load(io.BytesIO(entry(_PICKLE)), source, _DESCRIPTION)

        def storage_bytes(storage: Storage) -> bytes:
            raw = entry(f"data/{storage.key}")
            needed = storage.nbytes
            if len(raw) != needed:
                raise damaged(
                    source, f"the entry {root}data/{storage.key} has {len(raw):,} bytes, but its storage {needed:,}"
                )
            return raw

        big_endian = f"{root}byteorder" in names and entry("byteorder").strip() == b"big"
        yield Content(tree, storage_bytes, big_endian)


def _entry(archive: zipfile.ZipFile, names: dict[str, zipfile.ZipInfo], name: str, source: str) -> bytes:
    """The content of an entry, its checksum verified."""
    if name not in names:
        raise damaged(source, f"the entry {name} is missing")
    if names[name].compress_type != zipfile.ZIP_STORED:  # torch never compresses, and a small file could swell
        raise damaged(source, f"the entry {name} is compressed, which torch never does")
    try:
        return archive.read(names[name])
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, RuntimeError, OSError) as error:
        raise damaged(source, f"the entry {name} cannot be read ({str(error) or type(error).__name__})") from error


# --- files that were cut short ---


class LocalEntry(NamedTuple):
    """An entry as its local header tells it.

    Attributes:
      name: its name.
      start: where its data begins in the file.
      size: bytes of the data; ``None`` if the header does not say and the file ends before the descriptor does.
    """

    name: str
    start: int
    size: int | None


def local_entries(file: BinaryIO) -> Iterator[LocalEntry]:
    """Walk over the entries of a zip file from its beginning, without the directory at its end."""
    position = 0
    end = file.seek(0, io.SEEK_END)
    while True:
        file.seek(position)
        header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(SIGNATURE):
            return
        _, _, flags, _, _, _, _, packed, _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        name = file.read(name_length).decode("utf-8", "replace")
        start = position + _LOCAL_HEADER.size + name_length + extra_length
        if not flags & _STREAMED or packed:
            yield LocalEntry(name, start, packed)
            position = start + packed
            continue
        found = _descriptor(file, start, end)
        yield LocalEntry(name, start, found[0] if found else None)
        if not found:
            return
        position = found[1]


def _descriptor(file: BinaryIO, start: int, end: int) -> tuple[int, int] | None:
    """(size of the data, where the next entry begins), by the descriptor that follows data starting at ``start``."""
    file.seek(start)
    tail = b""
    position = start  # of the first byte after `tail`
    while position < end:
        block = tail + file.read(1 << 20)
        base = position - len(tail)
        position = base + len(block)
        at = block.find(_DESCRIPTOR)
        while at >= 0:
            size = base + at - start
            fields = block[at + 8 : at + 24]
            # The sizes take four bytes each, or eight: data that happens to hold the signature will not agree.
            if fields[:8] == struct.pack("<II", size, size) and size < 2**32:
                wide = fields == struct.pack("<QQ", size, size)
                return size, base + at + (24 if wide else 16)
            if fields == struct.pack("<QQ", size, size):
                return size, base + at + 24
            at = block.find(_DESCRIPTOR, at + 1)
        tail = block[-24:]
        if len(tail) == len(block):
            break
    return None


def _without_directory(path: Path, error: Exception) -> UserError:
    """Say what is missing of a zip file whose directory, at its end, cannot be read."""
    source, size = str(path), path.stat().st_size
    sizes: dict[str, int] = {}  # what the storages must have, once the description is known
    with path.open("rb") as file:
        for entry in local_entries(file):
            here = size - entry.start
            needed = entry.size
            if entry.name.endswith(_PICKLE):
                if needed is None or needed > here:
                    return truncated(source, f"it ends after {size:,} bytes, inside {entry.name}")
                file.seek(entry.start)
                try:
                    tree = load(io.BytesIO(file.read(needed)), source, _DESCRIPTION)
                except UserError as refusal:
                    return refusal
                sizes = {t.storage.key: t.storage.nbytes for t in tensors_in(tree)}
            elif needed is None:
                needed = sizes.get(entry.name.rpartition("/")[2])
            if needed is None:
                return truncated(source, f"it ends after {size:,} bytes, inside {entry.name}")
            if needed > here:
                lacking = needed - max(here, 0)
                return truncated(
                    source,
                    f"it ends after {size:,} bytes, where the entry {entry.name} lacks {lacking:,} of its "
                    f"{needed:,} bytes",
                )
    return truncated(source, f"it has no directory at its end ({error}), {size:,} bytes in")
