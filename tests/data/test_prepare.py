import numpy as np
import pytest

from jaxtl.data.catalogue import given, load_dataset
from jaxtl.data.dataset import Dataset
from jaxtl.data.prepare import prepare
from jaxtl.errors import UserError


@pytest.fixture(scope="module")
def official():
    return {split: load_dataset("digits", split) for split in ("train", "test")}


def assert_same_images(part, indices, official_split, class_names):
    """Each image is the official one at its index, and its label names the official class."""
    assert indices.dtype == np.int64
    assert np.array_equal(part.images, official_split.images[indices])
    named = [official_split.class_names[label] for label in official_split.labels[indices]]
    assert [class_names[label] for label in part.labels] == named


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"classes": ("7", "2", "9")},
        {"subset": 100},
        {"per_class": 4},
        {"classes": ("7", "2"), "subset": 60, "test_subset": 20, "per_class": 5, "validation": 0.4},
    ],
)
def test_indices_point_to_the_official_images(official, options):
    splits = prepare("digits", None, **options)
    names = options.get("classes") or official["train"].class_names
    assert splits.train.class_names == splits.validation.class_names == splits.test.class_names == tuple(names)
    assert_same_images(splits.train, splits.train.ids, official["train"], names)
    assert_same_images(splits.validation, splits.validation.ids, official["train"], names)
    assert_same_images(splits.test, splits.test.ids, official["test"], names)


def test_classes_give_the_new_labels_their_order():
    splits = prepare("digits", None, classes=("7", "2", "9"))
    assert splits.train.class_names == ("7", "2", "9")
    assert sorted(np.unique(splits.train.labels)) == [0, 1, 2]
    other = prepare("digits", None, classes=("9", "7", "2"))
    # The same images, the labels renamed: 7 was 0 and is 1.
    assert np.array_equal(splits.test.ids, other.test.ids)
    assert np.array_equal((splits.test.labels + 1) % 3, other.test.labels)


def test_classes_are_chosen_before_the_subset_is_counted(official):
    splits = prepare("digits", None, classes=("3", "1"), subset=50, validation=0)
    members = np.flatnonzero(np.isin(official["train"].labels, [3, 1]))
    assert np.array_equal(splits.train.ids, members[:50])


def test_the_subset_is_taken_before_images_per_class(official):
    splits = prepare("digits", None, subset=200, per_class=7, validation=0)
    assert np.bincount(splits.train.labels).tolist() == [7] * 10
    assert splits.train.ids.max() < 200
    with pytest.raises(UserError, match="only"):
        prepare("digits", None, subset=20, per_class=7)


def test_validation_is_stratified_and_disjoint(official):
    splits = prepare("digits", None, validation=0.2)
    everything = np.concatenate([splits.train.ids, splits.validation.ids])
    assert sorted(everything) == list(range(len(official["train"])))
    share = np.bincount(splits.validation.labels) / np.bincount(official["train"].labels)
    assert np.all(np.abs(share - 0.2) < 0.01)


def test_validation_is_a_share_of_what_per_class_leaves():
    splits = prepare("digits", None, per_class=10, validation=0.3)
    assert np.bincount(splits.train.labels).tolist() == [7] * 10
    assert np.bincount(splits.validation.labels).tolist() == [3] * 10


def test_no_share_holds_out_nothing(official):
    splits = prepare("digits", None, validation=0)
    assert splits.validation is None
    assert np.array_equal(splits.train.ids, np.arange(len(official["train"])))


@pytest.mark.parametrize("options", [{}, {"per_class": 9}])
def test_the_seed_decides_what_is_held_out(options):
    same, again, other = (prepare("digits", None, split_seed=seed, **options) for seed in (1, 1, 2))
    assert np.array_equal(same.train.ids, again.train.ids)
    assert np.array_equal(same.validation.ids, again.validation.ids)
    assert not np.array_equal(same.validation.ids, other.validation.ids)


def test_the_test_split_is_untouched_by_everything_but_classes_and_its_own_subset(official):
    splits = prepare("digits", None, subset=50, per_class=2, validation=0.5, split_seed=9)
    assert np.array_equal(splits.test.images, official["test"].images)
    assert np.array_equal(splits.test.labels, official["test"].labels)
    assert prepare("digits", None, test_subset=30).test.ids.tolist() == list(range(30))
    assert len(prepare("digits", None, test_subset=30).train) == len(prepare("digits", None).train)


def test_more_images_than_there_are_is_refused():
    with pytest.raises(UserError, match="The first 900 of 899 images cannot be taken"):
        prepare("digits", None, subset=900)
    with pytest.raises(UserError, match="The first 899 of 898 images cannot be taken"):
        prepare("digits", None, test_subset=899)


def test_an_unknown_class_is_refused():
    with pytest.raises(UserError, match="There is no class 'ten'"):
        prepare("digits", None, classes=("ten",))


@pytest.mark.parametrize(("classes", "told"), [((), "no image; add"), (("a", "b"), "no image of the classes chosen;")])
def test_a_split_without_images_is_told(classes, told):
    images, labels = np.zeros((4, 2, 2, 3), np.uint8), np.array([0, 1, 0, 1], np.int32)
    parts = {"train": Dataset(images, labels, ("a", "b")), "test": Dataset(images[:0], labels[:0], ("a", "b"))}
    with given(parts) as name, pytest.raises(UserError, match=f"^The test split of {name} has {told}"):
        prepare(name, None, classes=classes)
