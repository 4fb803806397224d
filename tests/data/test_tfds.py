import importlib.util
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds_library
import tiny_tfds

from jaxtl.config import check, default_config
from jaxtl.data import tfds
from jaxtl.data.catalogue import dataset_info, load_dataset
from jaxtl.data.decode import read_image
from jaxtl.data.options import ImageOptions
from jaxtl.data.prepare import prepare as prepare_splits
from jaxtl.errors import UserError

NAME = "tfds:tiny_shapes"
SMALL = ImageOptions(size=8)
Image, ClassLabel = tfds_library.features.Image, tfds_library.features.ClassLabel


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    tiny_tfds.prepare(data_dir)
    return data_dir


def drawn(split, count, size=None, **options):
    """The images as the script draws them, by our own decoder, and their labels, as bytes: tfds shuffles."""
    images = [tiny_tfds.encode(tiny_tfds.picture(split, i, **options)) for i in range(count)]
    channels = options.get("channels", 3)
    return sorted((read_image(image, size, channels=channels).tobytes(), i % 3) for i, image in enumerate(images))


def found(dataset):
    return sorted((image.tobytes(), int(label)) for image, label in zip(dataset.images, dataset.labels, strict=True))


@pytest.mark.parametrize(("split", "count"), [("train", 12), ("test", 6)])
@pytest.mark.parametrize("name", [NAME, f"{NAME}:1.0.0"])
def test_pixels_and_labels_are_those_that_were_written(tiny, name, split, count):
    dataset = load_dataset(name, split, tiny, options=SMALL)
    assert found(dataset) == drawn(split, count, (8, 8))
    assert dataset.class_names == tiny_tfds.NAMES
    assert dataset.ids.tolist() == list(range(count)) and dataset.ids.dtype == np.int64
    assert dataset.remarks == ()


def test_the_info_is_true(tiny):
    info = dataset_info(NAME, tiny, SMALL)
    assert (info.image_shape, info.class_names, info.sizes) == ((8, 8, 3), tiny_tfds.NAMES, {"train": 12, "test": 6})


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_one_size_stay_as_they_are(tmp_path, channels):
    tiny_tfds.prepare(tmp_path, channels=channels, fixed=True)
    assert dataset_info(NAME, tmp_path, SMALL).image_shape == (12, 12, channels)
    dataset = load_dataset(NAME, "test", tmp_path, options=SMALL)
    assert found(dataset) == drawn("test", 6, channels=channels, fixed=True)


def test_different_sizes_need_one_to_come_to(tiny):
    with pytest.raises(UserError, match=r"have different sizes \(train\[\d+\] has 11 x .*set data\.size"):
        load_dataset(NAME, "train", tiny)


def test_stored_images_are_the_same_and_pickle(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXTL_CACHE", str(tmp_path))
    memory = load_dataset(NAME, "train", tiny, options=SMALL)
    for _ in range(2):  # the second time what could be decoded is known
        stored = load_dataset(NAME, "train", tiny, options=ImageOptions(size=8, stream="always"))
        np.asarray(stored.images)  # opens the files, which do not pickle
        assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(stored.images[3:]))), memory.images[3:])
    assert len(list(tmp_path.rglob("*.json"))) == 1


# --- splits ---


def test_validation_images_validate(tmp_path):
    tiny_tfds.prepare(tmp_path, splits={"train": 12, "validation": 3, "test": 6, "extra": 3})
    splits = prepare_splits(NAME, tmp_path, options=SMALL)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 3, 6]
    assert [tuple(remark) for remark in splits.remarks] == [
        ("extra", "the split is none of train, validation and test", "passed over")
    ]


@pytest.mark.parametrize("splits", [{"train": 12, "validation": 6}, {"train": 12, "validation": 6, "test": 3}])
def test_validation_images_are_the_test_where_it_has_no_labels(tmp_path, splits):
    tiny_tfds.prepare(tmp_path, splits=splits, labels={"test": -1})
    dataset = load_dataset(NAME, "test", tmp_path, options=SMALL)
    assert found(dataset) == drawn("validation", 6, (8, 8))
    problems = {remark.problem for remark in load_dataset(NAME, "train", tmp_path, options=SMALL).remarks}
    assert "there is no test split" in problems
    assert ("the images of this split have no labels" in problems) == ("test" in splits)


def test_a_test_is_split_off(tmp_path):
    tiny_tfds.prepare(tmp_path, splits={"train": 15})
    train, test = (load_dataset(NAME, split, tmp_path, options=SMALL) for split in ("train", "test"))
    assert dataset_info(NAME, tmp_path, SMALL).sizes == {"train": 12, "test": 3}
    assert sorted(found(train) + found(test)) == drawn("train", 15, (8, 8))
    assert sorted([*train.ids, *test.ids]) == list(range(15))
    assert np.bincount(test.labels).tolist() == [1, 1, 1]


def test_without_training_images_there_is_nothing_to_learn(tmp_path):
    tiny_tfds.prepare(tmp_path, splits={"test": 6})
    with pytest.raises(UserError, match="has no split 'train' to train on, but only test"):
        dataset_info(NAME, tmp_path)


# --- which features ---


def test_the_supervised_keys_choose(tmp_path):
    features = {"other": Image(), "image": Image(), "label": ClassLabel(names=tiny_tfds.NAMES)}
    tiny_tfds.prepare(tmp_path, features=features)
    assert found(load_dataset(NAME, "test", tmp_path, options=SMALL)) == drawn("test", 6, (8, 8))


def test_the_only_image_and_the_only_label_are_taken(tmp_path):
    tiny_tfds.prepare(tmp_path, supervised=None)
    assert found(load_dataset(NAME, "test", tmp_path, options=SMALL)) == drawn("test", 6, (8, 8))


def test_anything_else_is_no_classification(tmp_path):
    features = {"other": Image(), "image": Image(), "label": ClassLabel(names=tiny_tfds.NAMES)}
    tiny_tfds.prepare(tmp_path, features=features, supervised=None)
    with pytest.raises(UserError, match=r"it has .*image \(Image\).*label \(ClassLabel\).*other \(Image\)"):
        dataset_info(NAME, tmp_path)


# --- what can go wrong ---


def test_an_undecodable_image_is_skipped_and_told(tmp_path):
    tiny_tfds.prepare(tmp_path, damaged=(4,))
    dataset = load_dataset(NAME, "train", tmp_path, options=ImageOptions(size=8, undecodable=0.1))
    (remark,) = dataset.remarks
    (lost,) = set(range(12)) - set(dataset.ids.tolist())
    assert remark.place == f"train[{lost}]" and remark.consequence == "skipped"
    with pytest.raises(UserError, match=r"1 of the 18 images of tfds:tiny_shapes/1\.0\.0 in .* cannot be decoded"):
        load_dataset(NAME, "train", tmp_path, options=ImageOptions(size=8, undecodable=0.0))


@pytest.mark.parametrize("content", [None, b"", bytes(70_000)])
def test_a_lost_or_damaged_file_is_told(tmp_path, content):
    (shard,) = tiny_tfds.prepare(tmp_path).glob("*train.array_record*")
    shard.unlink() if content is None else shard.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read \(.*\): a file is missing or damaged"):
        load_dataset(NAME, "train", tmp_path, options=SMALL)


def test_another_format_names_the_way_out(tmp_path):
    folder = tiny_tfds.prepare(tmp_path)
    described = folder / "dataset_info.json"
    described.write_text(described.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"was prepared as tfrecord, .*file_format='array_record'"):
        dataset_info(NAME, tmp_path)


@pytest.mark.parametrize("name", ["tfds:mnist", "tfds:mnist:3.0.1"])
def test_what_is_not_prepared_names_both_ways_out(tmp_path, monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"is not prepared in .*set data\.dir to .*or pip install 'jaxtl\[tfds\]'"):
        dataset_info(name, tmp_path)
    with pytest.raises(UserError, match=r"is not prepared in .*set data\.dir to .*or allow downloads"):
        load_dataset(name, data_dir=tmp_path, download=False)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_gets_a_suggestion(tmp_path):
    with pytest.raises(UserError, match=r"knows no such name; did you mean 'tfds:beans'"):
        dataset_info("tfds:beanss", tmp_path)


def test_with_tensorflow_it_is_prepared(tmp_path, monkeypatch, capfd):
    tiny_tfds.prepare(tmp_path, "TinyUnprepared", write=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    dataset = load_dataset("tfds:tiny_unprepared", "test", tmp_path, options=SMALL)
    assert found(dataset) == drawn("test", 6, (8, 8))
    assert capfd.readouterr().out == ""


def test_reading_is_silent(tiny, capfd):
    load_dataset(NAME, "test", tiny, options=SMALL)
    assert capfd.readouterr() == ("", "")


def test_the_library_is_imported_only_where_it_is_needed():
    program = "import sys, jaxtl.config, jaxtl.data; assert 'tensorflow_datasets' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (NAME, None),
        ("tfds:", "write tfds:NAME"),
        ("tfds:a b", "write tfds:NAME"),
        ("cifar", "did you mean 'cifar10'"),
    ],
)
def test_a_config_checks_the_name(tiny, name, fault):
    config = default_config()
    config.data.name, config.data.dir, config.data.size, config.batch_size = name, str(tiny), 32, 4
    faults = check(config)
    if fault is None:
        assert faults == []
    else:
        assert len(faults) == 1 and fault in faults[0]


@pytest.mark.parametrize("name", ["tfds:a:1.0.0", "tfds:a/b", "tfds:a/b-c_2.0:1.*.*"])
def test_configurations_and_versions_may_be_named(name):
    assert tfds.name_fault(name) is None
