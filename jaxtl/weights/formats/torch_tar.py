"""torch's tar format, that of torch 0.1 up to 2017: the members ``storages``, ``tensors`` and ``pickle``.

``storages`` is a count, then (key, location, type) as a pickle, the number of elements in eight bytes and the elements
for each, and a list of views; ``tensors`` is a count, then (key, storage, type) as a pickle and the sizes for each;
``pickle`` is the object, whose persistent identifiers are keys of tensors. All numbers are little-endian.
"""

import contextlib
import io
import pickle
import struct
import tarfile
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jaxtl.errors import UserError
from jaxtl.weights.formats.torch_pickle import dtype_of, load
from jaxtl.weights.formats.torch_tensors import Content, Storage, Tensor, count, hashable, make_tensor
from jaxtl.weights.problems import damaged, truncated

_MEMBERS = ("pickle", "tensors", "storages")


def is_tar(head: bytes) -> bool:
    """Whether a file that begins with these 512 bytes is a tar archive."""
    return head[257:262] == b"ustar"


@contextlib.contextmanager
def open_tar(path: Path) -> Iterator[Content]:
    """Open a file in tar format.

    Raises:
      UserError: if the file is truncated or altered, holds no torch data, or names anything but tensors.
    """
    source = str(path)
    end = path.stat().st_size
    places = _members(path, source)
    with path.open("rb") as file:
        for name in _MEMBERS:
            start, size = places[name]
            if start + size > end:
                lacking = start + size - max(end, start)
                raise truncated(
                    source, f"it ends after {end:,} bytes, where {name!r} lacks {lacking:,} of its {size:,} bytes"
                )

        def member(name: str) -> BinaryIO:
            file.seek(places[name][0])
            return io.BytesIO(file.read(places[name][1]))

        storages: dict[Hashable, Storage] = {}
        offsets: dict[str, int] = {}
        with member("storages") as stream:
            for key, storage, offset in storage_table(stream, source):
                storages[key] = storage
                offsets.setdefault(storage.key, places["storages"][0] + offset)
        with member("tensors") as stream:
            tensors = dict(tensor_table(stream, storages, source))

        def resolve(pid: Any) -> Tensor:
            return tensors[hashable(pid)]

        with member("pickle") as stream:
            tree = load(stream, source, "the description of the tensors", resolve)

        def storage_bytes(storage: Storage) -> bytes:
            file.seek(offsets[storage.key])
            return file.read(storage.size * storage.dtype.itemsize)

        yield Content(tree, storage_bytes)


def _members(path: Path, source: str) -> dict[str, tuple[int, int]]:
    """Where the data of each member begins, and its size; a cut may lie inside the last one.

    Raises:
      UserError: if one of ``_MEMBERS`` is missing.
    """
    places: dict[str, tuple[int, int]] = {}
    behind = 0  # the last member
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
                    places[member.name.removeprefix("./")] = member.offset_data, member.size
                    behind = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    except tarfile.ReadError:
        pass  # the end of a truncated file, noticed after its last member has been listed
    except (tarfile.TarError, ValueError, OverflowError, OSError) as error:
        raise damaged(source, f"it is no readable tar file ({error})") from error
    if missing := [name for name in _MEMBERS if name not in places]:
        with path.open("rb") as file:
            file.seek(behind)
            closed = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)  # a block of zeros ends an archive
        if closed:
            raise UserError(f"{source} is a tar file without {' and '.join(missing)}: torch.save did not write it.")
        end = path.stat().st_size
        raise truncated(source, f"it ends after {end:,} bytes, before {' and '.join(missing)}")
    return places


def storage_table(stream: BinaryIO, source: str) -> Iterator[tuple[Hashable, Storage, int]]:
    """Walk over the member ``storages``: (key, storage, where its elements begin in the member).

    Raises:
      UserError: at the first storage that is incomplete or makes no sense.
    """
    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    found: dict[Hashable, Storage] = {}
    with _table(source, "the list of storages"):
        total = count(load(stream, source, "the number of storages"))
        for number in range(1, total + 1):
            key, _location, kind = load(stream, source, f"the head of storage {number} of {total}")
            dtype, key = dtype_of(kind), hashable(key)
            (size,) = struct.unpack("<q", _exactly(stream, 8, source))
            start = stream.tell()
            needed = count(size) * dtype.itemsize
            if needed > end - start:
                raise truncated(
                    source,
                    f"storage {number} of {total} lacks {needed - (end - start):,} of its {needed:,} bytes",
                )
            found[key] = Storage(str(key), dtype, size, 0, size)
            yield key, found[key], start
            stream.seek(start + needed)
        for target, root, offset, size in load(stream, source, "the list of views"):
            whole = found[hashable(root)]
            if count(offset) + count(size) > whole.size:
                raise pickle.UnpicklingError(f"a view ends at element {offset + size:,} of {whole.size:,}")
            yield hashable(target), Storage(whole.key, whole.dtype, whole.size, offset, size), 0


def tensor_table(stream: BinaryIO, storages: dict[Hashable, Storage], source: str) -> Iterator[tuple[Hashable, Tensor]]:
    """Walk over the member ``tensors``: (key, tensor).

    Raises:
      UserError: if a tensor is incomplete or makes no sense.
    """
    with _table(source, "the list of tensors"):
        total = count(load(stream, source, "the number of tensors"))
        for number in range(1, total + 1):
            key, storage_key, _kind = load(stream, source, f"the head of tensor {number} of {total}")
            rank, _ = struct.unpack("<ii", _exactly(stream, 8, source))  # what follows the rank was never cleared
            if not 0 <= rank <= 32:
                raise pickle.UnpicklingError(f"tensor {number} has {rank} dimensions")
            shape = struct.unpack(f"<{rank}q", _exactly(stream, 8 * rank, source))
            strides = struct.unpack(f"<{rank}q", _exactly(stream, 8 * rank, source))
            (offset,) = struct.unpack("<q", _exactly(stream, 8, source))
            storage = storages[hashable(storage_key)]
            yield hashable(key), make_tensor(storage, storage.dtype, offset, shape, strides)


def _exactly(stream: BinaryIO, size: int, source: str) -> bytes:
    raw = stream.read(size)
    if len(raw) < size:
        raise truncated(source, f"a table of sizes lacks {size - len(raw)} bytes")
    return raw


@contextlib.contextmanager
def _table(source: str, part: str) -> Iterator[None]:
    """Turn a contradiction inside a table into the error of an altered file."""
    try:
        yield
    except UserError:
        raise
    except (pickle.UnpicklingError, KeyError, TypeError, ValueError, struct.error) as error:
        reason = f"{error.args[0]!r} is unknown" if isinstance(error, KeyError) else str(error)
        raise damaged(source, f"{part} makes no sense ({reason})") from error
