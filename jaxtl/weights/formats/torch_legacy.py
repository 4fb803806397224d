"""torch's plain-pickle format, the default before torch 1.6.

Five pickles in a row (magic number, protocol, system, object, order of the storages), then each storage as a count of
elements in eight bytes and the elements, little-endian on every machine. There is no checksum.
"""

import contextlib
import io
import reprlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxtl.errors import UserError
from jaxtl.weights.formats import damaged, truncated
from jaxtl.weights.formats.torch_pickle import Content, Storage, load

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


@contextlib.contextmanager
def open_legacy(path: Path) -> Iterator[Content]:
    """Open a file in plain-pickle format.

    Raises:
      UserError: if the file is truncated or altered, is another kind of pickle, or names anything but tensors.
    """
    source = str(path)
    with path.open("rb") as file:
        magic = load(file, source, "the magic number")
        if magic != MAGIC:
            raise UserError(f"{source} is a pickle, but torch.save did not write it: its magic number is missing.")
        protocol = load(file, source, "the protocol number")
        if protocol != PROTOCOL:
            raise damaged(source, f"its protocol is {reprlib.repr(protocol)}, not {PROTOCOL}")
        load(file, source, "the system's description")  # the byte order in it is not that of the storages
        storages: dict[str, Storage] = {}
        tree = load(file, source, "the description of the tensors", lambda s: storages.setdefault(s.key, s))
        keys = load(file, source, "the list of storages")
        if not isinstance(keys, list) or not all(isinstance(key, str | int) for key in keys):
            raise damaged(source, "the list of storages is none")
        places = dict(_places(file, [str(key) for key in keys], storages, source))

        def storage_bytes(storage: Storage) -> bytes:
            if storage.key not in places:
                raise damaged(source, f"the storage {storage.key} is missing")
            if storage.nbytes != storages[storage.key].nbytes:
                raise damaged(source, f"the storage {storage.key} is described in two ways")
            file.seek(places[storage.key])
            return file.read(storage.nbytes)

        yield tree, storage_bytes


def _places(file: BinaryIO, keys: list[str], storages: dict[str, Storage], source: str) -> Iterator[tuple[str, int]]:
    """The key of each storage and where its elements begin, from the file's position to its end."""
    position = file.tell()
    end = file.seek(0, io.SEEK_END)
    for number, key in enumerate(keys, start=1):
        name = f"storage {key} ({number} of {len(keys)})"
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            raise truncated(source, f"it ends after {end:,} bytes, before the {name}")
        if key not in storages:  # without its element type its length is unknown, and so is all that follows
            raise damaged(source, f"no tensor uses the {name}")
        (size,), needed = struct.unpack("<q", head), storages[key].nbytes
        if size != (said := storages[key].size):
            raise damaged(source, f"the {name} holds {size:,} elements, but its description says {said:,}")
        if (lacking := position + 8 + needed - end) > 0:
            lacks = f"the {name} lacks {lacking:,} of its {needed:,} bytes"
            raise truncated(source, f"it ends after {end:,} bytes, where {lacks}")
        yield key, position + 8
        position += 8 + needed
    if position != end:
        raise damaged(source, f"{end - position:,} bytes follow the last storage")
