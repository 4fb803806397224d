"""From a data set's name to the images that train, validate and test."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxtl.data.catalogue import load_dataset
from jaxtl.data.dataset import Dataset, first, select_classes, take
from jaxtl.data.split import per_class as choose_per_class
from jaxtl.data.split import stratified_split


class Splits(NamedTuple):
    """The three parts, with where their images stand in the official splits.

    Attributes:
      train: images to train on.
      validation: images to choose by, carved from the official training split; ``None`` where none are held out.
      test: images to test on, once.
      train_indices: int64, positions of ``train`` in the official training split.
      validation_indices: int64, positions of ``validation`` there.
      test_indices: int64, positions of ``test`` in the official test split.
    """

    train: Dataset
    validation: Dataset | None
    test: Dataset
    train_indices: np.ndarray
    validation_indices: np.ndarray
    test_indices: np.ndarray


def prepare(
    name: str,
    data_dir: str | Path | None,
    *,
    download: bool = True,
    classes: Sequence[str] = (),
    subset: int = 0,
    test_subset: int = 0,
    per_class: int = 0,
    validation: float = 0.1,
    split_seed: int = 0,
) -> Splits:
    """Load a data set and cut it.

    Args:
      name: see ``load_dataset``.
      data_dir: see ``load_dataset``.
      download: see ``load_dataset``.
      classes: names of the classes to keep, in the order of their new labels; empty keeps all.
      subset: the first N training images of those classes; 0 takes all.
      test_subset: the first N test images of those classes; 0 takes all.
      per_class: of what is left, N training images of each class; 0 takes all.
      validation: share of what is left that is held out, stratified by class, in [0, 1); 0 holds out none.
      split_seed: seed of ``per_class`` and of the validation split.

    Raises:
      UserError: as ``load_dataset``, and where more images are asked for than there are.
    """
    train, train_indices = _cut(load_dataset(name, "train", data_dir, download=download), classes, subset)
    test, test_indices = _cut(load_dataset(name, "test", data_dir, download=download), classes, test_subset)
    if per_class:
        chosen = choose_per_class(train.labels, per_class, split_seed)
        train, train_indices = take(train, chosen), train_indices[chosen]
    rest, held = stratified_split(train.labels, validation, split_seed)
    return Splits(
        train=take(train, rest),
        validation=take(train, held) if held.size else None,
        test=test,
        train_indices=train_indices[rest],
        validation_indices=train_indices[held],
        test_indices=test_indices,
    )


def _cut(dataset: Dataset, classes: Sequence[str], count: int) -> tuple[Dataset, np.ndarray]:
    """The first ``count`` images of the classes, all of them where it is 0, and where they stand."""
    names = tuple(classes) or dataset.class_names
    selected = select_classes(dataset, names)
    indices = np.flatnonzero(np.isin(dataset.labels, [dataset.class_names.index(name) for name in names]))
    return (first(selected, count), indices[:count]) if count else (selected, indices)
