"""Decode every image of a collection: what cannot be decoded is found before the first epoch, and told."""

import concurrent.futures
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxtl.data.dataset import Remark
from jaxtl.data.decode import Undecodable
from jaxtl.data.decode_cache import DecodeCache
from jaxtl.data.options import ImageOptions
from jaxtl.data.stored import ImageReader, StoredImages
from jaxtl.errors import UserError
from jaxtl.runtime.environment import cores, memory

# Share of the memory that the images of all splits may take: to hold some of them out makes a copy.
_SHARE = 0.25

SKIPPED = "skipped"  # what became of an image that cannot be decoded

# Called with (images done, images in all) while images are decoded.
Progress = Callable[[int, int], None]


class Decoded(NamedTuple):
    """What could be decoded.

    Attributes:
      images: uint8 [N, H, W, C], in memory or stored.
      kept: int64 [N], their positions in the collection.
      sizes: int32 [N, 2], (height, width) of each before it was resized.
      remarks: one for every image that was skipped.
    """

    images: np.ndarray | StoredImages
    kept: np.ndarray
    sizes: np.ndarray
    remarks: tuple[Remark, ...]


def decode_all(
    reader: ImageReader,
    N: int,  # noqa: N803
    folder: Path,
    options: ImageOptions,
    *,
    what: str,
    in_all: int,
    progress: Progress | None = None,
) -> Decoded:
    """Decode a collection, into memory or, where that is too small, just to see that every image can be decoded.

    Args:
      reader: reads the images 0..N-1.
      N: how many there are.
      folder: where they lie.
      options: whether images are streamed, by how many workers, and how many may be undecodable.
      what: what the images are in an error message, plural: "image files under /data", for example.
      in_all: of how many images the undecodable ones are a share: those of all splits, or a few could condemn a small
        split.
      progress: is told how far it is.

    Raises:
      UserError: too many images are undecodable.
    """
    too_large = in_all * np.prod(reader.shape, dtype=np.int64) > _SHARE * memory()
    streamed = options.stream == "always" or (options.stream == "auto" and too_large)
    images: Any = None if streamed else np.empty((N, *reader.shape), np.uint8)
    faults, digests, sizes = [""] * N, np.zeros(N, "S16"), np.zeros((N, 2), np.int32)
    cache = DecodeCache(folder, f"{reader.shape} {reader.fit}") if streamed else None
    source = reader.source

    def decode_one(i: int) -> None:
        if cache and (before := cache.get(source.name(i), source.file(i))):
            digests[i], faults[i], *sizes[i] = before
            return
        try:
            encoded = source.content(i)
            image, sizes[i] = reader.decode(encoded, i)
        except Undecodable as error:
            faults[i] = str(error)
        else:
            digests[i] = hashlib.blake2b(encoded, digest_size=16).digest()
            if images is not None:
                images[i] = image
        if cache:
            cache.put(source.name(i), source.file(i), digests[i], faults[i], sizes[i].tolist())

    # Threads suffice: Pillow lets go of the interpreter while it decodes.
    with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
        for done, _ in enumerate(pool.map(decode_one, range(N)), start=1):
            if progress and (done % 100 == 0 or done == N):
                progress(done, N)
    if cache:
        cache.save()
    bad = [Remark(source.name(i), faults[i], SKIPPED) for i in range(N) if faults[i]]
    if len(bad) == N or len(bad) > options.undecodable * in_all:
        raise _too_many(bad, what, in_all, options)
    kept = np.flatnonzero([not fault for fault in faults])
    if images is None:
        images = StoredImages(reader, kept, reader.shape, digests[kept], options.workers)
        return Decoded(images, kept, sizes[kept], tuple(bad))
    for at, i in enumerate(kept if bad else ()):  # in place: there may be no room for a copy
        images[at] = images[i]
    return Decoded(images[: len(kept)], kept, sizes[kept], tuple(bad))


def _too_many(bad: Sequence[Remark], what: str, in_all: int, options: ImageOptions) -> UserError:
    examples = ", ".join(f"{remark.place} ({remark.problem})" for remark in bad[:3])
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return UserError(
        f"{len(bad)} of the {in_all} {what} cannot be decoded, a larger share than "
        f"data.undecodable={options.undecodable:g}: {examples}{more}; fix or remove them, or allow more."
    )
