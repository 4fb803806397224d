"""torch's zip format, the default since torch 1.6: ``<root>/data.pkl`` and one stored entry for each storage.

The entries are read through the directory at the file's end, because torch streams its files and their local headers
lack sizes.
"""

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from jaxtl.errors import UserError
from jaxtl.weights.formats import damaged, truncated
from jaxtl.weights.formats.torch_pickle import Content, Storage, load

SIGNATURE = b"PK\x03\x04"
_PICKLE = "data.pkl"
# What a zip file ends with: this, 18 bytes, and a comment of up to 64 KiB.
_END, _LENGTH_AFTER_END, _LONGEST_END = b"PK\x05\x06", 18, 22 + 65_535


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
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _LONGEST_END))
            if _END in file.read()[:-_LENGTH_AFTER_END]:
                raise damaged(source, str(error)) from error
        ends = f"it ends after {size:,} bytes without the directory that a zip file ends with"
        raise truncated(source, ends) from error
    with archive:
        names = archive.namelist()
        pickles = sorted((name for name in names if f"/{name}".endswith(f"/{_PICKLE}")), key=len)
        if not pickles:
            raise UserError(f"{source} is a zip file without a data.pkl: torch.save did not write it.")
        root = pickles[0].removesuffix(_PICKLE)
        tree = load(io.BytesIO(_entry(archive, pickles[0], source)), source, "the description of the tensors")
        if (order := f"{root}byteorder") in names and _entry(archive, order, source).strip() == b"big":
            raise UserError(f"{source} was written on a big-endian machine; save it again on another one.")

        def storage_bytes(storage: Storage) -> bytes:
            name = f"{root}data/{storage.key}"
            raw = _entry(archive, name, source)
            if len(raw) != storage.nbytes:
                raise damaged(source, f"the entry {name} has {len(raw):,} bytes, but its storage {storage.nbytes:,}")
            return raw

        yield tree, storage_bytes


def _entry(archive: zipfile.ZipFile, name: str, source: str) -> bytes:
    """The content of an entry, its checksum verified."""
    try:
        if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:  # a small file could swell
            raise damaged(source, f"the entry {name} is compressed, which torch never does")
        return archive.read(name)
    except UserError:
        raise
    except KeyError as error:
        raise damaged(source, f"the entry {name} is missing") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, RuntimeError, OSError) as error:
        raise damaged(source, f"the entry {name} cannot be read ({str(error) or type(error).__name__})") from error
