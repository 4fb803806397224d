"""torch's plain-pickle format, the default before torch 1.6.

Five pickles in a row (magic number, protocol, system, object, order of the storages), then each storage as a count of
elements in eight bytes and the elements, little-endian on every machine. There is no checksum.
"""

import contextlib
import reprlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jaxtl.errors import UserError
from jaxtl.weights.formats.torch_pickle import load, storage_of
from jaxtl.weights.formats.torch_tensors import Content, Storage
from jaxtl.weights.problems import damaged, truncated

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
        if magic != MAGIC or isinstance(magic, bool):
            raise UserError(f"{source} is a pickle, but torch.save did not write it: its magic number is missing.")
        protocol = load(file, source, "the protocol number")
        if protocol != PROTOCOL:
            raise damaged(source, f"its protocol is {reprlib.repr(protocol)}, not {PROTOCOL}")
        load(file, source, "the system's description")  # the byte order in it is not that of the storages
        storages: dict[str, Storage] = {}

        def resolve(pid: Any) -> Storage:
            storage = storage_of(pid)
            storages.setdefault(storage.key, storage)
            return storage

        tree = load(file, source, "the description of the tensors", resolve)
        keys = load(file, source, "the list of storages")
        places = _places(file, path.stat().st_size, _order(keys, source), storages, source)

        def storage_bytes(storage: Storage) -> bytes:
            if storage.key not in places:
                raise damaged(source, f"the storage {storage.key} is missing")
            start, size = places[storage.key]
            if size != storage.nbytes:
                raise damaged(source, f"the storage {storage.key} is described in two ways")
            file.seek(start)
            return file.read(size)

        yield Content(tree, storage_bytes)


def _order(keys: Any, source: str) -> list[str]:
    """The keys of all storages in the order of the file."""
    if isinstance(keys, list) and all(isinstance(key, str | int) for key in keys):
        order = [str(key) for key in keys]
        if len(set(order)) == len(order):
            return order
    raise damaged(source, "the list of storages is none, or names one twice")


def _places(
    file: BinaryIO, end: int, keys: list[str], storages: dict[str, Storage], source: str
) -> dict[str, tuple[int, int]]:
    """Where each storage's elements begin and how many bytes they take, from the file's position to its end."""
    places = {}
    position = file.tell()
    for number, key in enumerate(keys, start=1):
        name = f"storage {key} ({number} of {len(keys)})"
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            raise truncated(source, f"it ends after {end:,} bytes, before the {name}")
        (size,) = struct.unpack("<q", head)
        if key not in storages:  # without its element type its length is unknown, and so is all that follows
            raise damaged(source, f"no tensor uses the {name}")
        needed = size * storages[key].dtype.itemsize
        start = position + 8
        if size < 0 or size != storages[key].size:
            raise damaged(
                source, f"the {name} holds {size:,} elements, but its description says {storages[key].size:,}"
            )
        if (lacking := needed - (end - start)) > 0:
            raise truncated(
                source, f"it ends after {end:,} bytes, where the {name} lacks {lacking:,} of its {needed:,} bytes"
            )
        places[key] = start, needed
        position = start + needed
    if position != end:
        raise damaged(source, f"{end - position:,} bytes follow the last storage")
    return places
