"""Decode every image of a collection: what cannot be decoded is found before the first epoch, and told."""

import concurrent.futures
import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxtl.data.dataset import Remark
from jaxtl.data.decode import Undecodable
from jaxtl.data.decoded_before import DecodedBefore
from jaxtl.data.reading import Reading
from jaxtl.data.stored import StoredImages
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
      remarks: one for every image that was skipped.
    """

    images: np.ndarray | StoredImages
    kept: np.ndarray
    remarks: tuple[Remark, ...]


def decode_all(
    names: Sequence[str],
    image_shape: tuple[int, int, int],
    *,
    what: str,
    in_all: int,
    content: Callable[[int], bytes],
    decode: Callable[[bytes, int], np.ndarray],
    read: Callable[[int], np.ndarray],
    decoded_before: Callable[[], DecodedBefore],
    shown: Callable[[str], str] = str,
    reading: Reading,
    progress: Progress | None = None,
) -> Decoded:
    """Decode a collection, into memory or, where that is too small, just to see that every image can be decoded.

    Args:
      names: what each image is called.
      image_shape: (H, W, C) of every image once it is decoded.
      what: what the images are in an error message, plural: "image files under /data", say.
      in_all: of how many images the undecodable ones are a share: those of all splits, lest one condemn a small split.
      content: gives the encoded image at a position; it may raise Undecodable.
      decode: gives the image of a content and its position, uint8 [H, W, C]; it may raise Undecodable.
      read: does both, in another process and at a later time too: it must pickle.
      decoded_before: gives the record of what was found decodable, asked for where images are streamed.
      shown: a name as it is written for a person.
      reading: whether images are streamed, by how many workers, and how many may be undecodable.
      progress: is told how far it is.

    Raises:
      UserError: too many images are undecodable.
    """
    N = len(names)
    too_large = in_all * np.prod(image_shape, dtype=np.int64) > _SHARE * memory()
    streamed = reading.stream == "always" or (reading.stream == "auto" and too_large)
    images = None if streamed else np.empty((N, *image_shape), np.uint8)
    faults: list[str] = [""] * N
    digests = np.zeros(N, "S16")
    known = decoded_before() if streamed else None

    def decode_one(i: int) -> None:
        if known and (before := known.get(names[i])):
            digests[i], faults[i] = before
            return
        try:
            encoded = content(i)
            image = decode(encoded, i)
        except Undecodable as error:
            faults[i] = str(error)
        else:
            digests[i] = hashlib.blake2b(encoded, digest_size=16).digest()
            if images is not None:
                images[i] = image
        if known:
            known.put(names[i], digests[i], faults[i])

    # Threads suffice: Pillow lets go of the interpreter while it decodes.
    with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
        for done, _ in enumerate(pool.map(decode_one, range(N)), start=1):
            if progress and (done % 100 == 0 or done == N):
                progress(done, N)
    if known:
        known.save()
    good = np.array([not fault for fault in faults], bool)
    bad = [Remark(shown(names[i]), faults[i], SKIPPED) for i in range(N) if faults[i]]
    if len(bad) == N or len(bad) > reading.undecodable * in_all:
        raise _too_many(bad, what, in_all, reading)
    kept = np.flatnonzero(good)
    if images is None:
        return Decoded(StoredImages(read, kept, image_shape, digests[kept], reading.workers), kept, tuple(bad))
    for at, i in enumerate(kept if bad else ()):  # in place: there may be no room for a copy
        images[at] = images[i]
    return Decoded(images[: len(kept)], kept, tuple(bad))


def _too_many(bad: Sequence[Remark], what: str, in_all: int, reading: Reading) -> UserError:
    examples = ", ".join(f"{remark.place} ({remark.problem})" for remark in bad[:3])
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return UserError(
        f"{len(bad)} of the {in_all} {what} cannot be decoded, a larger share than "
        f"data.undecodable={reading.undecodable:g}: {examples}{more}; mend or remove them, or allow more."
    )
