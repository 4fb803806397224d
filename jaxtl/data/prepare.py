"""From a data set's name to the images that train, validate and test."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxtl.data.catalogue import data_folder, dataset_info
from jaxtl.data.dataset import Dataset, Remark, first, select_classes, take
from jaxtl.data.options import ImageOptions
from jaxtl.data.overview import overview, remarks_on, repeated
from jaxtl.data.split import per_class as choose_per_class
from jaxtl.data.split import stratified_fold, stratified_split
from jaxtl.errors import UserError


class Splits(NamedTuple):
    """The three parts; the ``ids`` of each are the places of its images in the official splits.

    Attributes:
      train: images to train on.
      validation: images to choose by: the data set's own, or carved from its training split; ``None`` where none are
        held out.
      test: images to test on, once.
      remarks: what was noticed about the images.
      overview: see ``jaxtl.data.overview.overview``.
    """

    train: Dataset
    validation: Dataset | None
    test: Dataset
    remarks: tuple[Remark, ...]
    overview: dict[str, Any]


def prepare(
    name: str,
    data_dir: str | Path | None,
    *,
    download: bool = True,
    options: ImageOptions = ImageOptions(),
    classes: Sequence[str] = (),
    subset: int = 0,
    test_subset: int = 0,
    per_class: int | Mapping[str, int] = 0,
    validation: float = 0.1,
    folds: int = 0,
    fold: int = 0,
    split_seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Splits:
    """Load a data set and cut it.

    Args:
      name, data_dir, download, options: see ``load_dataset``.
      classes: names of the classes to keep, in the order of their new labels; empty keeps all.
      subset: the first N training images of those classes; 0 takes all.
      test_subset: the first N test images of those classes; 0 takes all.
      per_class: of what is left, N training images of each class, 0 takes all; or of each class that is named.
      validation: share of what is left that is held out, stratified by class, in [0, 1); 0 holds out none. A data set
        with validation images of its own gives those.
      folds: in place of ``validation``, the number of stratified folds, of which one is held out; 0: see there.
      fold: which one, from 0.
      split_seed: seed of ``per_class``, of the validation split and of the folds.
      progress: called with (split, images done, images in all) while files are decoded.

    Raises:
      UserError: as ``load_dataset``, and where more images are asked for than there are.
    """
    info = dataset_info(name, data_dir, options, download=download)

    def part(split: str, count: int) -> Dataset:
        tell = functools.partial(progress, split) if progress else None
        dataset = info.load(split, data_folder(data_dir), download=download, progress=tell)
        dataset = select_classes(dataset, tuple(classes) or dataset.class_names)
        if not len(dataset):
            chosen = " of the classes chosen" if classes else ""
            raise UserError(f"The {split} split of {name} has no image{chosen}; add some.")
        return first(dataset, count) if count else dataset

    train, test = part("train", subset), part("test", test_subset)
    if per_class:
        train = take(train, choose_per_class(train.labels, per_class, split_seed, train.class_names))
    held: Dataset | None
    if "val" in info.sizes:
        held = part("val", 0)
    else:
        if folds:
            rest, indices = stratified_fold(train.labels, fold, folds, split_seed)
        else:
            rest, indices = stratified_split(train.labels, validation, split_seed)
        train, held = take(train, rest), take(train, indices) if indices.size else None
    parts = {"training": train, **({"validation": held} if held else {}), "test": test}
    noticed = dict.fromkeys(remark for dataset in parts.values() for remark in dataset.remarks)
    groups = repeated(parts)
    remarks = (*noticed, *remarks_on(groups))
    return Splits(train, held, test, remarks, overview(parts, remarks, groups))
