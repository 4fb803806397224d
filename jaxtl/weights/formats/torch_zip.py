"""torch's zip format, the default since torch 1.6: ``<root>/data.pkl`` and one stored entry for each storage.

The entries are read through the directory at the file's end, because torch streams its files and their local headers
lack sizes. What is missing of a file without that directory is found by walking over the local headers.
"""

import contextlib
import io
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from jaxtl.errors import UserError
from jaxtl.weights.formats import damaged, truncated
from jaxtl.weights.formats.torch_pickle import Content, Storage, load, tensors_in

SIGNATURE = b"PK\x03\x04"
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
        tree = load(io.BytesIO(_entry(archive, names, pickles[0], source)), source, _DESCRIPTION)

        def storage_bytes(storage: Storage) -> bytes:
            name = f"{root}data/{storage.key}"
            raw = _entry(archive, names, name, source)
            if len(raw) != storage.nbytes:
                raise damaged(source, f"the entry {name} has {len(raw):,} bytes, but its storage {storage.nbytes:,}")
            return raw

        order = f"{root}byteorder"
        yield Content(tree, storage_bytes, order in names and _entry(archive, names, order, source).strip() == b"big")


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


def _without_directory(path: Path, error: Exception) -> UserError:
    """Say what is missing of a zip file whose directory, at its end, cannot be read."""
    source, end = str(path), path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            for name, start, size in local_entries(content, source):
                if start + size > end:
                    lacks = f"the entry {name} lacks {min(start + size - end, size):,} of its {size:,} bytes"
                    return truncated(source, f"it ends after {end:,} bytes, where {lacks}")
        except UserError as refusal:
            return refusal
    return truncated(source, f"it has no directory at its end ({error}), {end:,} bytes in")


def local_entries(content: bytes | mmap.mmap, source: str) -> Iterator[tuple[str, int, int]]:
    """Walk over the entries from the file's beginning: name, start of the data, and their bytes if it is a storage.

    Local headers lack sizes. The description, which comes first, tells those of the storages, and has an end of its
    own; the few entries beside them are shorter than the way to the next header.

    Raises:
      UserError: if the description cannot be read.
    """
    sizes: dict[str, int] = {}
    at = content.find(SIGNATURE)
    while at >= 0 and at + 30 <= len(content):
        name_length, extra_length = struct.unpack("<HH", content[at + 26 : at + 30])
        start = at + 30 + name_length + extra_length
        name = content[at + 30 : at + 30 + name_length].decode("utf-8", "replace")
        if name.endswith(_PICKLE):
            tree = load(io.BytesIO(content[start:]), source, _DESCRIPTION)
            sizes = {tensor.storage.key: tensor.storage.nbytes for tensor in tensors_in(tree)}
        size = sizes.get(name.rpartition("/")[2], 0)
        yield name, start, size
        at = content.find(SIGNATURE, start + size)
