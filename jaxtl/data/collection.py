"""Collections of encoded images, in splits: they are decoded into memory, or left stored where that is too small.

Every image is decoded once before the first epoch, so that what cannot be decoded is found and reported in time.
"""

import concurrent.futures
import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxtl.data.dataset import Dataset, Remark
from jaxtl.data.decode import Undecodable, read_image
from jaxtl.data.decode_cache import DecodeCache
from jaxtl.data.options import ImageOptions
from jaxtl.data.split import stratified_split
from jaxtl.data.stored import ImageReader, Sizes, Source, StoredImages, pixel_digest
from jaxtl.errors import UserError, listed
from jaxtl.runtime.environment import cores, memory

# Share of the memory that the images of all splits may take: to hold some of them out makes a copy.
_SHARE = 0.25

# What happened to an image that cannot be decoded, to something that is not read.
SKIPPED, PASSED_OVER = "skipped", "passed over"

# Called with (images done, images in all) while images are decoded.
Progress = Callable[[int, int], None]


class Collection(NamedTuple):
    """What is known of encoded images before one is decoded.

    Attributes:
      name: what and where they are, for error messages.
      folder: the folder of their files.
      class_names: K names.
      splits: by the name of the split, ``train``, ``test`` and sometimes ``val``.
      remarks: what was passed over.
      channels: 3 for RGB, 1 for grey.
      fixed_size: (height, width) of every image, where the collection promises one.
    """

    name: str
    folder: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, Source]
    remarks: tuple[Remark, ...]
    channels: int
    fixed_size: tuple[int, int] | None = None


def with_test(splits: Mapping[str, Source], name: str, options: ImageOptions) -> tuple[dict[str, Source], list[Remark]]:
    """Splits with a test, and remarks: their own test, else the validation images, else a share of every class.

    Raises:
      UserError: there are too few images to hold out some.
    """
    train, val = splits["train"], splits.get("val")
    if "test" in splits:
        return dict(splits), []
    if val is not None:
        remark = Remark("val", "there is no test split", "used as the test; validation is taken from train")
        return {"train": train, "test": val}, [remark]
    rest, held = stratified_split(train.labels, options.test, options.split_seed)
    if not held.size:
        raise UserError(
            f"data.test={options.test} holds out none of the {len(train)} images of {name}, because no class has two; "
            "add images, or choose a data set with a test split of its own."
        )
    return {"train": train.chosen(rest), "test": train.chosen(held)}, []


def image_shape(found: Collection, options: ImageOptions) -> tuple[int, int, int]:
    """(H, W, C) of every image once it is read.

    Images that all have one size keep it. Others are resized to ``options.size``; without one, the size of the first
    image that can be decoded must be that of all.
    """
    if found.fixed_size:
        return *found.fixed_size, found.channels
    if options.size:
        return options.size, options.size, found.channels
    train = found.splits["train"]
    for position in range(len(train)):
        with contextlib.suppress(Undecodable):
            height, width, _ = read_image(train.content(position)).shape
            return height, width, found.channels
    raise UserError(f"None of the images of {found.name} can be decoded; restore them, or choose another data set.")


def load(found: Collection, split: str, options: ImageOptions, progress: Progress | None = None) -> Dataset:
    """Decode a split, into memory or, where that is too small, only to see that every image can be decoded.

    Returns:
      The images that can be decoded; a remark for each of the others, and with ``train`` those of the collection.

    Raises:
      UserError: too many images are undecodable, a class has no image left to train on, or no size is given and the
        images have different ones.
    """
    source, shape = found.splits[split], image_shape(found, options)
    sizes: Sizes = "fixed" if found.fixed_size else "any" if options.size else "same"
    reader = ImageReader(source, shape, options.fit, sizes, found.name)
    in_all = sum(len(each) for each in found.splits.values())
    too_large = in_all * math.prod(shape) > _SHARE * memory()
    streamed = options.stream == "always" or (options.stream == "auto" and too_large)
    images: Any  # an array in memory, or stored
    images, faults, digests, original_sizes = _decode(reader, found.folder, streamed, progress)
    bad = [Remark(source.name(i), fault, SKIPPED) for i, fault in enumerate(faults) if fault]
    # Of all splits, or a few could condemn a small one.
    if len(bad) > options.undecodable * in_all or len(bad) == len(source):
        raise _too_many(bad, found.name, in_all, options)
    kept = np.flatnonzero([not fault for fault in faults])
    labels = source.labels[kept]
    if split == "train" and (lost := sorted({*source.labels.tolist()} - {*labels.tolist()})):
        raise UserError(
            f"None of the training images of the class {found.class_names[lost[0]]!r} in {found.name} can be decoded; "
            "restore some, or remove the class."
        )
    if streamed:
        images = StoredImages(reader, kept, shape, digests[kept], options.workers)
    elif bad:
        for at, i in enumerate(kept):  # in place: there may be no room for a copy
            images[at] = images[i]
        images = images[: len(kept)]
    remarks = (*(found.remarks if split == "train" else ()), *bad)
    return Dataset(images, labels, found.class_names, source.ids[kept], remarks, original_sizes[kept])


def _decode(
    reader: ImageReader, folder: Path, streamed: bool, progress: Progress | None
) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """A first look at all N images.

    Returns:
      Images, uint8 [N, H, W, C], none where they are streamed; N reasons why an image cannot be decoded, "" where it
      can; digests of their pixels, bytes [N]; (height, width) before they were resized, int32 [N, 2].
    """
    source, N = reader.source, len(reader.source)
    images = np.empty((0 if streamed else N, *reader.shape), np.uint8)
    faults, digests, sizes = [""] * N, np.zeros(N, "S16"), np.zeros((N, 2), np.int32)
    cache = DecodeCache(folder, f"{reader.shape} {reader.fit} {reader.sizes} pixels") if streamed else None

    def decode_one(i: int) -> None:
        if cache and (before := cache.get(source.name(i), source.file(i))):
            digests[i], *sizes[i] = before
            return
        try:
            image, sizes[i] = reader.decode(source.content(i), i)
        except Undecodable as error:
            faults[i] = str(error)
        else:
            digests[i] = pixel_digest(image)
            if not streamed:
                images[i] = image
            if cache:
                cache.put(source.name(i), source.file(i), digests[i], sizes[i].tolist())

    # Threads suffice: Pillow releases the interpreter lock while it decodes.
    with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
        for done, _ in enumerate(pool.map(decode_one, range(N)), start=1):
            if progress and (done % 100 == 0 or done == N):
                progress(done, N)
    if cache:
        cache.save()
    return images, faults, digests, sizes


def _too_many(bad: Sequence[Remark], name: str, in_all: int, options: ImageOptions) -> UserError:
    examples = listed([f"{remark.place} ({remark.problem})" for remark in bad])
    return UserError(
        f"{len(bad)} of the {in_all} images of {name} cannot be decoded, a larger share than "
        f"data.undecodable={options.undecodable:g}: {examples}; fix or remove them, or allow more."
    )
