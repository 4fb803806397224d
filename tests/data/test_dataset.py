import dataclasses

import numpy as np
import pytest

from jaxtl.data import Dataset
from jaxtl.data.dataset import first, select_classes, take
from jaxtl.errors import UserError

NAMES = ("cat", "dog", "frog")


@pytest.fixture
def dataset() -> Dataset:
    """Six images; every pixel of image i is i."""
    images = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None, None, None], (6, 4, 5, 3))
    return Dataset(images, np.array([0, 1, 2, 0, 1, 2], np.int32), NAMES)


def shown(dataset: Dataset) -> list[int]:
    """Which of the six images the data set holds."""
    return dataset.images[:, 0, 0, 0].tolist()


def test_a_dataset_knows_its_sizes(dataset):
    assert len(dataset) == 6
    assert dataset.num_classes == 3
    assert dataset.image_shape == (4, 5, 3)


def test_a_dataset_is_shown_in_a_line(dataset):
    assert repr(dataset) == "Dataset(6 images of 4 x 5 x 3, 3 classes)"


def test_a_dataset_is_a_value(dataset):
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.labels = np.zeros(6, np.int32)


def test_an_empty_dataset_is_one():
    assert len(Dataset(np.zeros((0, 4, 4, 1), np.uint8), np.zeros(0, np.int32), NAMES)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((6, 4, 5, 3), np.float32)}, "images of a data set must be uint8 of rank 4, not float32"),
        ({"images": np.zeros((6, 4, 5), np.uint8)}, r"rank 4, not uint8 of shape \(6, 4, 5\)"),
        ({"labels": np.zeros(6, np.int64)}, "labels of a data set must be int32 of rank 1, not int64"),
        ({"labels": np.zeros((6, 1), np.int32)}, r"rank 1, not int32 of shape \(6, 1\)"),
        ({"labels": np.zeros(5, np.int32)}, "not 6 images, 5 labels and 6 ids"),
        ({"labels": np.array([0, 1, 2, 3, 1, 7], np.int32)}, r"Label 3 at index 3 is outside 0\.\.2"),
        ({"labels": np.array([0, -1, 2, 3, 1, 2], np.int32)}, r"Label -1 at index 1 is outside 0\.\.2"),
        ({"class_names": ("cat", "dog", "cat")}, "'cat' appears more than once"),
    ],
)
def test_a_broken_dataset_is_refused(dataset, change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(dataset, **change)


def test_take_follows_the_order_of_the_indices(dataset):
    taken = take(dataset, np.array([5, 0, 3]))
    assert shown(taken) == [5, 0, 3]
    assert taken.labels.tolist() == [2, 0, 0]
    assert taken.class_names == NAMES


@pytest.mark.parametrize("n", [0, 4, 6])
def test_first(dataset, n):
    assert shown(first(dataset, n)) == list(range(n))
    assert len(first(dataset, n).labels) == n


@pytest.mark.parametrize("n", [-1, 7])
def test_first_refuses_what_is_not_there(dataset, n):
    with pytest.raises(UserError, match=f"first {n} of 6"):
        first(dataset, n)


def test_select_classes_relabels_in_the_order_of_the_names(dataset):
    selected = select_classes(dataset, ["frog", "cat"])
    assert selected.class_names == ("frog", "cat")
    assert shown(selected) == [0, 2, 3, 5]
    assert selected.labels.tolist() == [1, 0, 1, 0]
    assert selected.labels.dtype == np.int32


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "Frogg"], "There is no class 'Frogg'; did you mean 'frog'"),
        (["cat", "zebra"], "no class 'zebra'; choose one of: cat, dog, frog"),
        (["cat", "dog", "cat"], "'cat' appears more than once"),
    ],
)
def test_select_classes_refuses(dataset, names, message):
    with pytest.raises(UserError, match=message):
        select_classes(dataset, names)
