import json

import numpy as np
import pytest
from PIL import Image

from jaxtl.data.dataset import Dataset, Remark
from jaxtl.data.options import ImageOptions
from jaxtl.data.overview import lines, overview, remarks_on, repeated
from jaxtl.data.prepare import prepare


def dataset(labels, pixels, names=("cat", "dog")):
    images = np.zeros((len(labels), 2, 2, 3), np.uint8) + np.array(pixels, np.uint8)[:, None, None, None]
    return Dataset(images, np.array(labels, np.int32), names)


@pytest.fixture
def parts():
    """Pixel 5 stands in two parts, pixel 2 in two classes of one part, pixel 3 twice in one class."""
    return {
        "training": dataset([0, 0, 0, 0, 0, 1, 1], [1, 2, 3, 3, 4, 5, 2]),
        "validation": dataset([0, 1], [7, 8]),
        "test": dataset([0, 1, 1], [9, 5, 10]),
    }


def test_images_in_two_parts_or_two_classes(parts):
    groups = repeated(parts)
    assert [[tuple(each.values()) for each in group] for group in groups] == [
        [("training", 1, "1", "cat"), ("training", 6, "6", "dog")],
        [("training", 5, "5", "dog"), ("test", 1, "1", "dog")],
    ]
    assert [remark.place for remark in remarks_on(groups)] == ["training image 6", "test image 1"]
    assert remarks_on(groups)[0].problem == "the same image is training image 1, which is cat there and dog here"


def test_what_was_read(parts):
    groups = repeated(parts)
    found = overview(parts, remarks_on(groups), groups)
    assert json.loads(json.dumps(found)) == found
    assert found["parts"] == {"training": [5, 2], "validation": [1, 1], "test": [1, 2]}
    assert found["image_shape"] == [2, 2, 3] and found["passed_over"] == [] and found["original_sizes"] is None
    assert found["repeated"][1] == [
        {"part": "training", "index": 5, "image": "5", "class": "dog"},
        {"part": "test", "index": 1, "image": "1", "class": "dog"},
    ]
    assert found["warnings"] == [
        "1 image stands in more than one part: the figures of the test are too high where its images were trained on.",
        "1 image stands in more than one class.",
    ]
    told = lines(found)
    assert told[0] == "Images: 7 training, 2 validation, 3 test; 2 classes; read as 2 x 2 pixels, RGB."
    assert [line.split() for line in told[1:4]] == [
        ["class", "training", "validation", "test"],
        ["cat", "5", "1", "1"],
        ["dog", "2", "1", "2"],
    ]
    assert [line.startswith("Warning: ") for line in told[4:]] == [True, True]


def test_imbalance_and_classes_without_images_are_warned_of(parts):
    names = ("cat", "dog", "cow", "elk")
    train = dataset([0] * 6 + [1] * 2 + [2] * 3, range(11), names)
    found = overview({"training": train, "test": dataset([0, 0], [20, 21], names)}, (), ())
    assert found["warnings"] == [
        "The classes are unbalanced: cat has 6 training images, dog has 2; class_weights='balanced' or "
        "balanced_sampling=True of a phase can make up for that.",
        "No training images: elk.",
        "No test images: dog, cow, elk.",
    ]


def test_many_classes_are_summed_up():
    names = tuple(f"c{i}" for i in range(30))
    part = dataset([*range(30), *range(10)], range(40), names)
    told = lines(overview({"training": part, "test": dataset(range(30), range(100, 130), names)}, (), ()))
    assert told[1] == "Images of a class: training 1 to 2 (median 1), test 1 to 1 (median 1)."


def test_prepare_gives_it():
    found = prepare("digits", None, subset=100, validation=0.1).overview
    assert sum(found["parts"]["training"]) + sum(found["parts"]["validation"]) == 100


def test_sizes_of_files_as_they_are_looked_at(tmp_path):
    """The smallest, the median and the largest, turned upright, in whatever parts they are."""
    sizes = [(30, 20), (200, 100), (10, 10), (60, 50), (40, 40), (70, 80)]  # width and height
    for i, (size, folder) in enumerate(zip(sizes, ("train/a", "train/b") * 2 + ("test/a", "test/b"), strict=True)):
        path = tmp_path / folder / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        turned = Image.Exif()
        turned[0x0112] = 6 if i == 1 else 1
        Image.new("RGB", size, (40 * i, 0, 0)).save(path, exif=turned)
    for stream in ("never", "always", "always"):  # the second time from the cache
        found = prepare("folder", tmp_path, options=ImageOptions(size=8, stream=stream), validation=0).overview
        assert found["original_sizes"] == {"smallest": [10, 10], "median": [50, 60], "largest": [200, 100]}
        assert lines(found)[1] == (
            "Original sizes in pixels: 10 x 10 (smallest), 50 x 60 (median), 200 x 100 (largest)."
        )


def test_what_is_passed_over_is_summed_up_in_a_line_for_each_reason():
    remarks = [
        *(Remark(f"{i}.txt", "not the suffix of an image", "passed over") for i in range(12)),
        Remark("val", "there is no test folder", "used as the test; validation is taken from train"),
    ]
    part = dataset([0, 1], [1, 2])
    assert lines(overview({"training": part, "test": part}, remarks, ()))[4:6] == [
        "0.txt and 11 more: not the suffix of an image (passed over).",
        "val: there is no test folder (used as the test; validation is taken from train).",
    ]
