import dataclasses

import numpy as np
import pytest

from jaxtl.data import load_dataset
from jaxtl.data.catalogue import DATASETS, dataset_info, given, list_datasets
from jaxtl.data.dataset import Dataset
from jaxtl.data.digits import load_digits
from jaxtl.errors import UserError


def test_the_names_are_listed():
    assert list_datasets() == ("cifar10", "cifar100", "stl10", "digits", "folder")


def test_a_split_is_loaded_by_name():
    for split in ("train", "test"):
        assert np.array_equal(load_dataset("digits", split).images, load_digits(split).images)
    assert np.array_equal(load_dataset("digits").images, load_digits("train").images)


@pytest.mark.parametrize(("name", "num_classes"), [("cifar10", 10), ("cifar100", 100), ("digits", 10)])
def test_the_info_has_a_name_for_every_class(name, num_classes):
    info = dataset_info(name)
    assert len(info.class_names) == num_classes == len(set(info.class_names))


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_info_on_digits_is_true(split):
    info, dataset = dataset_info("digits"), load_dataset("digits", split)
    assert info.image_shape == dataset.image_shape
    assert info.class_names == dataset.class_names
    assert info.sizes[split] == len(dataset)


def test_the_info_on_cifar10_is_true(cifar10_dir):
    info, dataset = dataset_info("cifar10"), load_dataset("cifar10", "test", cifar10_dir, download=False)
    assert info.image_shape == dataset.image_shape
    assert info.class_names == dataset.class_names
    assert info.sizes["test"] == len(dataset)


def test_given_images_have_the_same_name_in_every_version():
    """The configs of runs hold it."""
    images = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
    parts = {split: Dataset(images, np.array([0, 1, 0, 1], np.int32), ("a", "b")) for split in ("train", "test")}
    with given(parts) as name:
        assert name == "given:7732aba625f4"


def test_an_unknown_name_gets_a_suggestion():
    for function in (load_dataset, dataset_info):
        with pytest.raises(UserError, match=r"no data set 'cifar-10'; did you mean 'cifar10'"):
            function("cifar-10")


def test_an_unknown_split_gets_a_suggestion():
    with pytest.raises(UserError, match=r"no split of digits 'tests'; did you mean 'test'"):
        load_dataset("digits", "tests")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_an_absent_cifar_is_not_downloaded_against_the_will(tmp_path, name):
    with pytest.raises(UserError, match="is not in"):
        load_dataset(name, "test", tmp_path, download=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_unofficial_files_are_refused(tmp_path, name):
    (tmp_path / ("test_batch" if name == "cifar10" else "test")).write_bytes(b"other bytes")
    with pytest.raises(UserError, match="truncated or altered: its MD5 is"):
        load_dataset(name, "test", tmp_path, download=False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({"JAXTL_DATA": "mine", "JAXTL_CACHE": "cache"}, "mine"), ({"JAXTL_CACHE": "cache"}, "cache/data")],
)
def test_where_the_data_lie_by_default(tmp_path, monkeypatch, variables, expected):
    monkeypatch.delenv("JAXTL_DATA", raising=False)
    for name, folder in variables.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    asked = []
    spy = dataclasses.replace(
        DATASETS["digits"], load=lambda split, data_dir, download, progress: asked.append((split, data_dir, download))
    )
    monkeypatch.setitem(DATASETS, "digits", spy)
    load_dataset("digits", "test", download=False)
    load_dataset("digits", "test", str(tmp_path))
    assert asked == [("test", tmp_path / expected, False), ("test", tmp_path, True)]
