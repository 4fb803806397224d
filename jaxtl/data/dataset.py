"""A labelled set of images as a value, and the pure functions that cut one out of another."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxtl.data.stored import StoredImages
from jaxtl.errors import UserError, expect, nearest


class Remark(NamedTuple):
    """Something about a data set that a person should know.

    Attributes:
      place: what it is about: a file, relative to the folder of the data set, or the number of an image.
      problem: what is the matter with it.
      consequence: what became of it: "skipped", "kept", ...
    """

    place: str
    problem: str
    consequence: str


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images with their labels.

    Attributes:
      images: uint8 [N, H, W, C], in memory, or files that are decoded when they are asked for.
      labels: int32 [N], each within 0..K-1.
      class_names: the K names; label ``k`` means ``class_names[k]``.
      ids: [N], what each image is called: its place in the official split, int64, or its file, str; the places by
        default.
      original_sizes: int32 [N, 2], (height, width) of each image before it was resized; ``None``: not known.
      remarks: what was noticed while the images were read.

    Raises:
      UserError: a dtype, a shape, a label or a name breaks these rules.
    """

    images: np.ndarray | StoredImages
    labels: np.ndarray
    class_names: tuple[str, ...]
    ids: np.ndarray = None  # type: ignore[assignment]
    remarks: tuple[Remark, ...] = ()
    original_sizes: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, array, dtype, rank in (("images", self.images, np.uint8, 4), ("labels", self.labels, np.int32, 1)):
            found = f"{array.dtype} of shape {array.shape}" if hasattr(array, "dtype") else f"a {type(array).__name__}"
            if not hasattr(array, "dtype") or array.dtype != dtype or array.ndim != rank:
                raise UserError(
                    f"The {name} of a data set must be {np.dtype(dtype)} of rank {rank}, not {found}; convert them "
                    "first."
                )
        if self.images.shape[3] not in (1, 3) or not all(self.images.shape[1:]):
            raise UserError(
                f"The images of a data set have the shape {self.images.shape}, but must be [N, H, W, C] with C = 1 "
                "(grey) or 3 (RGB): images.transpose(0, 2, 3, 1) puts channels last, images[..., :3] drops a fourth."
            )
        ids = np.arange(len(self.images)) if self.ids is None else np.asarray(self.ids)
        object.__setattr__(self, "ids", ids)
        expect("class_names of a data set", self.class_names, (tuple, list), "a tuple of names")
        object.__setattr__(self, "class_names", tuple(self.class_names))
        for name in self.class_names:
            expect("A class name", name, str, "a text")
        if not len(self.images) == len(self.labels) == len(self.ids):
            raise UserError(
                f"A data set needs one label and one id for every image, not {len(self.images)} images, "
                f"{len(self.labels)} labels and {len(self.ids)} ids; drop what has no partner."
            )
        repeated = [name for index, name in enumerate(self.class_names) if name in self.class_names[:index]]
        if repeated:
            raise UserError(f"The class name {repeated[0]!r} appears more than once; give each class its own name.")
        outside = np.flatnonzero((self.labels < 0) | (self.labels >= self.num_classes))
        if outside.size:
            index = outside[0]
            raise UserError(
                f"Label {self.labels[index]} at index {index} is outside 0..{self.num_classes - 1}, the range of "
                f"{self.num_classes} class names; correct the labels or complete the names."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:  # one line: a notebook prints it
        size = " x ".join(str(side) for side in self.images.shape[1:])
        return f"Dataset({len(self):,} images of {size}, {self.num_classes} classes)"

    @property
    def num_classes(self) -> int:
        """K, the number of classes, whether or not each of them has an image here."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of shape and images, as hexadecimal digits; of stored ones, of their own digests."""
        content = self.images.digests if isinstance(self.images, StoredImages) else self.images
        found = hashlib.sha256(str(self.images.shape).encode())
        found.update(np.ascontiguousarray(content).reshape(-1).view(np.uint8).data)
        return found.hexdigest()


def from_arrays(parts: Mapping[str, Any]) -> dict[str, Dataset]:
    """Data sets of arrays; the classes are the different labels of ``train``, sorted.

    Args:
      parts: by split, one of which is ``train``: pairs of images, uint8 ``[N, H, W, C]`` or ``[N, H, W]``, and labels,
        integers or names ``[N]``.

    Raises:
      UserError: a part is not such a pair, its images have different sizes, or a label is not one of ``train``.
    """
    arrays = {split: _pair(split, part) for split, part in parts.items()}
    classes = np.unique(arrays["train"][1])
    for split, (_, labels) in arrays.items():
        if strange := sorted({*labels.tolist()} - {*classes.tolist()}):
            raise UserError(f"The {split} images have the label {strange[0]!r}, which no training image has; add some.")
    names = tuple(map(str, classes))
    return {
        split: Dataset(images, np.searchsorted(classes, labels).astype(np.int32), names)
        for split, (images, labels) in arrays.items()
    }


def _pair(split: str, part: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise UserError(
            f"{split} is a {type(part).__name__}, but all splits are given as jaxtl.Dataset, all as a pair (images, "
            "labels), or all as data frames with the columns path and label."
        )
    try:
        images, labels = map(np.asarray, part)
    except ValueError as error:  # of numpy
        raise UserError(f"The images of {split} have different sizes; resize them to one.") from error
    if labels.ndim == 2 and labels.shape[1] == 1:  # a column, as Keras's data sets have it
        labels = labels[:, 0]
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.flat):
        labels = labels.astype(str)
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        raise UserError(
            f"The labels of {split} are {labels.dtype} of shape {labels.shape}, but must be integers or names, one an "
            "image; convert them, one-hot labels by labels.argmax(1)."
        )
    if images.dtype.kind == "U":
        raise UserError(f"The images of {split} are texts; give image files as a data frame of paths and labels.")
    return images[..., None] if images.ndim == 3 else images, labels


def take(dataset: Dataset, indices: np.ndarray | slice) -> Dataset:
    """The images at ``indices`` (integers [M], in that order), as a data set of M images with the same classes."""
    return dataclasses.replace(
        dataset,
        images=dataset.images[indices],
        labels=dataset.labels[indices],
        ids=dataset.ids[indices],
        original_sizes=None if dataset.original_sizes is None else dataset.original_sizes[indices],
    )


def first(dataset: Dataset, n: int) -> Dataset:
    """The first ``n`` images.

    Raises:
      UserError: ``n`` is negative or more than there are.
    """
    if not 0 <= n <= len(dataset):
        raise UserError(
            f"The first {n} of {len(dataset)} images cannot be taken; choose a number from 0 to {len(dataset)}."
        )
    return take(dataset, slice(n))


def select_classes(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The images of the classes ``names`` alone, in their old order, relabelled so that label ``k`` is ``names[k]``.

    Raises:
      UserError: a name is unknown or given twice.
    """
    for name in names:
        if name not in dataset.class_names:
            raise unknown_name("class", name, dataset.class_names)
    new_label = np.full(dataset.num_classes, -1, np.int32)
    new_label[[dataset.class_names.index(name) for name in names]] = np.arange(len(names))
    chosen = take(dataset, np.flatnonzero(new_label[dataset.labels] >= 0))
    return dataclasses.replace(chosen, labels=new_label[chosen.labels], class_names=tuple(names))


def unknown_name(kind: str, name: str, known: Sequence[str]) -> UserError:
    """The error for a ``name`` that is not ``known``: suggests the nearest one, or lists them all."""
    return UserError(f"There is no {kind} {name!r}; {nearest(name, known)}")
