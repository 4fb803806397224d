"""The data sets that jaxtl knows by name."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxtl.data import cifar, collection, digits, folder, labels, stl10, tfds
from jaxtl.data.dataset import Dataset, unknown_name
from jaxtl.data.official_files import Published, load_official
from jaxtl.data.options import ImageOptions
from jaxtl.errors import UserError, expect
from jaxtl.runtime.files import cache_dir, user_path


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What is known about a data set before a byte of it is read.

    Attributes:
      image_shape: (H, W, C) of every image.
      class_names: the K names; label ``k`` means ``class_names[k]``.
      sizes: for each split the number of images.
      load: reads a split: ``load(split, data_dir, download=…, progress=…)``.
    """

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    sizes: Mapping[str, int]
    load: Callable[..., Dataset]


def _official(published: Published) -> DatasetInfo:
    return DatasetInfo(
        image_shape=published.image_shape,
        class_names=published.class_names,
        sizes=published.sizes,
        load=lambda split, data_dir, download, progress: load_official(published, split, data_dir, download=download),
    )


DATASETS = {
    "cifar10": _official(cifar.CIFAR10),
    "cifar100": _official(cifar.CIFAR100),
    "stl10": _official(stl10.STL10),
    "digits": DatasetInfo(
        image_shape=(8, 8, 1),
        class_names=digits.CLASS_NAMES,
        sizes={"train": 899, "test": 898},
        load=lambda split, data_dir, download, progress: digits.load_digits(split),
    ),
}

GIVEN = "given:"  # begins the name of images that are not loaded but given
_given: dict[str, Callable[[str | Path | None, ImageOptions], DatasetInfo]] = {}  # what is known of them, by name


def list_datasets() -> tuple[str, ...]:
    """The names that ``load_dataset`` knows, beside ``tfds:NAME`` for the data sets of tensorflow-datasets."""
    return (*DATASETS, *_given, folder.NAME)


def dataset_info(
    name: str, data_dir: str | Path | None = None, options: ImageOptions = ImageOptions(), *, download: bool = True
) -> DatasetInfo:
    """What is known about the data set ``name``, without decoding its images.

    Args:
      name: one of ``list_datasets()``, or ``tfds:NAME``, ``tfds:NAME:VERSION``, ``tfds:NAME/CONFIG:VERSION``.
      data_dir: the folder of images, where ``name`` is ``"folder"``; that of prepared data sets, where it is of
        tensorflow-datasets, whose own default it has.
      options: how images of any size are read.
      download: whether a data set of tensorflow-datasets is prepared where it is not: nothing is known of it before.

    Raises:
      UserError: there is no such data set, or the folder does not hold what it should.
    """
    expect("The name of the data set", name, str, "a text, for example 'cifar10'")
    expect("options", options, ImageOptions, "jaxtl.ImageOptions, for example jaxtl.ImageOptions(size=224)")
    if options.labels and name != folder.NAME:
        raise UserError(f"data.labels is {options.labels!r}, but data.name is {name!r}; set data.name to 'folder'.")
    if name in DATASETS:
        return DATASETS[name]
    if name in _given:
        return _given[name](data_dir, options)
    if name.startswith(tfds.PREFIX):
        found = tfds.find(name, user_path(data_dir) if data_dir else None, options, download=download)
    elif name.startswith(GIVEN):
        raise UserError(f"The images of {name} were given in Python and kept nowhere; name another data set.")
    elif name != folder.NAME:
        raise unknown_name("data set", name, (*list_datasets(), f"{tfds.PREFIX}NAME"))
    elif options.labels:
        table = user_path(options.labels)
        root = user_path(data_dir) if data_dir else table.parent
        found = labels.scan(labels.read_table(table), root, str(table), options)
    elif not data_dir:
        raise UserError("data.dir is empty, but data.name='folder' needs it; name the folder that holds your images.")
    else:
        found = folder.scan(user_path(data_dir), options)
    return _collected(found, options)


def _collected(found: collection.Collection, options: ImageOptions) -> DatasetInfo:
    return DatasetInfo(
        image_shape=collection.image_shape(found, options),
        class_names=found.class_names,
        sizes={split: len(source) for split, source in found.splits.items()},
        load=lambda split, data_dir, download, progress: collection.load(found, split, options, progress),
    )


def load_dataset(
    name: str,
    split: str = "train",
    data_dir: str | Path | None = None,
    *,
    download: bool = True,
    options: ImageOptions = ImageOptions(),
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Load one split of a data set.

    Args:
      name: one of ``list_datasets()``, or ``tfds:NAME``, see ``dataset_info``.
      split: one of ``dataset_info(name).sizes``: ``"train"``, ``"test"`` and sometimes ``"val"``.
      data_dir: where the files lie or shall be downloaded to; default ``$JAXTL_DATA``, else ``data`` in the cache
        folder. See ``dataset_info`` for ``"folder"`` and ``"tfds:NAME"``.
      download: whether to download what ``data_dir`` lacks.
      options: how images of any size are read: for example ``ImageOptions(size=224)``.
      progress: called with (images done, images in all) while files are decoded.

    Returns:
      Images uint8 [N, H, W, C] in the official order, labels int32 [N], class names.

    Raises:
      UserError: the name or the split is unknown; the files are missing, truncated or altered; the download fails.
    """
    info = dataset_info(name, data_dir, options, download=download)
    if split not in info.sizes:
        raise unknown_name(f"split of {name}", split, tuple(info.sizes))
    return info.load(split, data_folder(data_dir), download=download, progress=progress)


def data_folder(data_dir: str | Path | None) -> Path:
    """Where the files of data sets lie or shall be downloaded to, see ``load_dataset``."""
    return user_path(data_dir or os.environ.get("JAXTL_DATA") or cache_dir() / "data")


def given(parts: Mapping[str, Dataset]) -> contextlib.AbstractContextManager[str]:
    """A context in which given images are a data set, under a name made from their content.

    The splits are ``train``, ``test`` and perhaps ``val``.

    Raises:
      UserError: the splits differ in their classes or in the size of their images, or there is one class alone.
    """
    first = parts["train"]
    if len(first.class_names) < 2:
        raise UserError(f"The training images have the classes {first.class_names}; a classifier needs two or more.")
    for split, dataset in parts.items():
        if dataset.class_names != first.class_names or dataset.image_shape != first.image_shape:
            raise UserError(
                f"The {split} images given have the shape {dataset.image_shape} and the classes "
                f"{', '.join(dataset.class_names)}, but those of train {first.image_shape} and "
                f"{', '.join(first.class_names)}; give all splits the same."
            )
    sizes = {split: len(dataset) for split, dataset in parts.items()}
    info = DatasetInfo(first.image_shape, first.class_names, sizes, lambda split, *_, **__: parts[split])
    content = hashlib.sha256()  # the same in every version, because the configs of runs hold the name
    for split, dataset in parts.items():
        for array in (dataset.images if isinstance(dataset.images, np.ndarray) else dataset.ids, dataset.labels):
            content.update(f"{split} {array.shape} {array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
    return _named(content.hexdigest(), lambda data_dir, options: info)


def given_rows(rows: Sequence[labels.Row]) -> contextlib.AbstractContextManager[str]:
    """A context in which the rows of data frames are a data set, under a name made from them."""

    def info(data_dir: str | Path | None, options: ImageOptions) -> DatasetInfo:
        return _collected(labels.scan(rows, user_path(data_dir or "."), "the data frame", options), options)

    return _named(hashlib.sha256(repr([row[1:] for row in rows]).encode()).hexdigest(), info)


@contextlib.contextmanager
def _named(digest: str, info: Callable[[str | Path | None, ImageOptions], DatasetInfo]) -> Iterator[str]:
    name = f"{GIVEN}{digest[:12]}"
    _given[name] = info
    try:
        yield name
    finally:
        _given.pop(name, None)
