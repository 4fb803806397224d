"""From the data fields of a config to the data set, its three parts, and the preprocessing of its images."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxtl.config.build import tree_of
from jaxtl.config.title import retitle, titled_fields
from jaxtl.config.tree import Tree, merge
from jaxtl.data.augment import Transform, compose, normalise, resize
from jaxtl.data.catalogue import DatasetInfo, dataset_info, given, given_rows
from jaxtl.data.dataset import Dataset, from_arrays
from jaxtl.data.labels import frame_rows, is_frame
from jaxtl.data.options import ImageOptions
from jaxtl.data.prepare import Splits, prepare
from jaxtl.errors import UserError
from jaxtl.runtime.files import user_path


def data_info(data: Mapping[str, Any]) -> DatasetInfo:
    """What is known about the data set before an image is decoded.

    Raises:
      UserError: there is no such data set, or its folder does not hold what it should.
    """
    return dataset_info(data["name"], data["dir"] or None, image_options(data), download=data["download"])


@contextlib.contextmanager
def with_images(config: Mapping[str, Any], train: Any, validation: Any, test: Any) -> Iterator[Tree]:
    """A context that yields the config as a tree, with images as ``jaxtl.run`` takes them, if any, as its data set.

    Raises:
      UserError: images to train on come without images to test on, or the other way round; their classes differ; they
        are neither data sets nor arrays nor data frames.
    """
    tree, parts = tree_of(config), {"train": train, "val": validation, "test": test}
    images = {split: part for split, part in parts.items() if part is not None}
    if not images:
        yield tree
        return
    is_table = is_frame(train)
    if not {"train", "test"} <= images.keys() and not (is_table and len(images) == 1):
        raise UserError(
            f"Images were given for {' and '.join(images)} only; give train and test, which are both needed."
        )
    if is_table:
        context = given_rows(frame_rows(images))
    elif all(isinstance(part, Dataset) for part in images.values()):
        context = given(images)
    else:
        context = given(from_arrays(images))
    with context as name:
        before, tree = tree, merge(tree, {"data": {"name": name, "labels": ""}})
        if tree.get("reported"):  # which is a figure of other images
            retitle(tree, titled_fields(before))
        yield tree


def has_validation(data: Mapping[str, Any]) -> bool:
    """Whether there are images to validate on: held out, or the data set's own."""
    return data["validation"] > 0 or data["folds"] > 0 or "val" in data_info(data).sizes


def load_splits(data: Mapping[str, Any], progress: Callable[[str, int, int], None] | None = None) -> Splits:
    """The images that train, validate and test; for ``progress`` and errors see ``jaxtl.data.prepare.prepare``."""
    names = ("download", "classes", "subset", "test_subset", "per_class", "validation", "folds", "split_seed")
    chosen = {name: data[name] for name in names} | {"fold": max(data["fold"], 0)}
    return prepare(data["name"], data["dir"] or None, options=image_options(data), progress=progress, **chosen)


def image_folder(data: Mapping[str, Any]) -> Path | None:
    """The folder that the names of image files are relative to; ``None`` where the config names no files."""
    return user_path(data["dir"] or Path(data["labels"]).parent) if data["dir"] or data["labels"] else None


def image_options(data: Mapping[str, Any]) -> ImageOptions:
    """How images of any size are read."""
    names = {field.name for field in dataclasses.fields(ImageOptions)}
    return ImageOptions(**{name: value for name, value in data.items() if name in names})


def preprocessing(data: Mapping[str, Any]) -> Transform:
    """Resize and normalisation, uint8 images in, float32 out."""
    resizing = [resize(data["size"], data["size"])] if data["size"] else []
    return compose(*resizing, normalise(data["mean"], data["std"]))
