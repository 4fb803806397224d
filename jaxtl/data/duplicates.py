"""Images that stand in two parts of a data set: what is tested on should not have been trained on."""

import hashlib
from collections.abc import Mapping

import numpy as np

from jaxtl.data.dataset import Dataset, Remark
from jaxtl.data.stored import StoredImages


def digests(dataset: Dataset) -> np.ndarray:
    """bytes ``[N]``: equal for images with equal pixels, or for stored ones with equal files."""
    if isinstance(dataset.images, StoredImages):
        return dataset.images.digests
    found = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in dataset.images]
    return np.array([digest.hex() for digest in found])


def duplicates(parts: Mapping[str, Dataset]) -> list[Remark]:
    """A remark for every image that stands in an earlier part too.

    Args:
      parts: the parts by what their images are called ("training", say), in their order.

    >>> images = np.zeros((1, 2, 2, 3), np.uint8)
    >>> train = test = Dataset(images, np.zeros(1, np.int32), ("a", "b"))
    >>> duplicates({"training": train, "test": test})
    [Remark(place='test image 0', problem='the same image is training image 0', consequence='kept')]
    """
    seen: dict[bytes, str] = {}
    remarks = []
    for what, dataset in parts.items():
        here = [(digest, f"{what} image {name}") for digest, name in zip(digests(dataset), dataset.ids, strict=True)]
        remarks += [
            Remark(name, f"the same image is {seen[digest]}", "kept") for digest, name in here if digest in seen
        ]
        seen |= {digest: name for digest, name in here if digest not in seen}
    return remarks
