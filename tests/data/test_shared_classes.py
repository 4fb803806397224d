import numpy as np
import pytest

from jaxtl.config import check, default_config
from jaxtl.data.catalogue import dataset_info
from jaxtl.data.dataset import Dataset, select_classes
from jaxtl.data.shared_classes import SHARED_CLASSES

ONE_WORD = {"automobile": "car"}  # what the two sets call by different names


def test_both_orders_mean_the_same_things():
    cifar10, stl10 = SHARED_CLASSES["cifar10"], SHARED_CLASSES["stl10"]
    assert [ONE_WORD.get(name, name) for name in cifar10] == list(stl10)
    assert len(set(stl10)) == 9


@pytest.mark.parametrize(("name", "alone"), [("cifar10", "frog"), ("stl10", "monkey")])
def test_they_are_all_that_the_sets_share(name, alone):
    assert set(dataset_info(name).class_names) - set(SHARED_CLASSES[name]) == {alone}


@pytest.mark.parametrize("name", SHARED_CLASSES)
def test_they_can_be_chosen(name):
    names = dataset_info(name).class_names
    dataset = Dataset(np.zeros((10, 2, 2, 3), np.uint8), np.arange(10, dtype=np.int32), names)
    chosen = select_classes(dataset, SHARED_CLASSES[name])
    assert [names[index] for index in chosen.ids] == [SHARED_CLASSES[name][label] for label in chosen.labels]
    config = default_config()
    config.data.name, config.data.classes = name, SHARED_CLASSES[name]
    assert check(config) == []
