import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxtl.data import ImageOptions, load_dataset
from jaxtl.data.catalogue import dataset_info
from jaxtl.data.collection import load
from jaxtl.data.folder import scan
from jaxtl.data.prepare import prepare
from jaxtl.data.stored import ImageReader, StoredImages
from jaxtl.errors import UserError


def picture(seed, size=(9, 7)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def fill(root, per_class=10, classes=("cat", "dog"), seed=0):
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            (root / name / f"{i}.png").write_bytes(picture((seed, k, i)))
    return root


def photographs_of_phones(root):
    for path in [*fill(root, 5).rglob("*.png")]:
        path.rename(path.with_suffix(".heic"))


def remarks_on(dataset):
    return {remark.place: remark.problem for remark in dataset.remarks}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXTL_CACHE", str(tmp_path / "cache"))


def test_a_folder_of_classes_is_split_stratified_by_seed(tmp_path):
    root = fill(tmp_path)
    train, test = (load_dataset("folder", split, root) for split in ("train", "test"))
    assert train.class_names == ("cat", "dog")
    assert np.bincount(train.labels).tolist() == [8, 8] and np.bincount(test.labels).tolist() == [2, 2]
    assert sorted([*train.ids, *test.ids]) == sorted(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(10))
    assert all(
        name.split("/")[0] == train.class_names[label] for name, label in zip(train.ids, train.labels, strict=True)
    )
    assert list(load_dataset("folder", "test", root).ids) == list(test.ids)
    assert list(load_dataset("folder", "test", root, options=ImageOptions(split_seed=1)).ids) != list(test.ids)
    assert len(load_dataset("folder", "test", root, options=ImageOptions(test=0.5))) == 10


def test_the_images_are_those_of_the_files(tmp_path):
    root = fill(tmp_path)
    train = load_dataset("folder", "train", root)
    for i in (0, 7, 15):
        assert np.array_equal(train.images[i], np.asarray(Image.open(root / train.ids[i])))


def test_split_folders_are_taken_as_they_are(tmp_path):
    for split, count in (("Train", 6), ("valid", 2), ("test", 3)):
        fill(tmp_path / split, count, seed=count)
    splits = prepare("folder", tmp_path, validation=0.5)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 4, 6]
    assert splits.validation.ids[0] == "valid/cat/0.png"


def test_without_a_test_folder_the_validation_folder_is_the_test_and_that_is_told(tmp_path):
    for split, count in (("train", 6), ("val", 2)):
        fill(tmp_path / split, count, seed=count)
    splits = prepare("folder", tmp_path, validation=0.5)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [6, 6, 4]
    assert any("test" in remark.consequence for remark in splits.remarks)


def test_a_class_may_be_called_train(tmp_path):
    assert load_dataset("folder", "train", fill(tmp_path, classes=("bus", "train"))).class_names == ("bus", "train")


def test_the_size_is_reached_for_all_proportions(tmp_path):
    root = fill(tmp_path)
    (root / "cat" / "wide.png").write_bytes(picture(99, (5, 50)))
    info = dataset_info("folder", root, ImageOptions(size=6))
    assert info.image_shape == (6, 6, 3) and info.sizes == {"train": 17, "test": 4}
    assert load_dataset("folder", "train", root, options=ImageOptions(size=6)).images.shape == (17, 6, 6, 3)
    with pytest.raises(UserError, match=r"different sizes.*data\.size"):
        [load_dataset("folder", split, root) for split in ("train", "test")]


def test_what_is_odd_is_told_and_the_rest_is_read(tmp_path, cache):
    root = fill(tmp_path / "images")
    (root / "cat" / "empty.jpg").write_bytes(b"")
    (root / "cat" / "cut.png").write_bytes(picture(1)[:60])
    (root / "dog" / "text.jpg").write_text("no picture")
    (root / "dog" / "notes.txt").write_text("no picture")
    (root / "dog" / "self.png").symlink_to("self.png")
    (root / "cat" / "loop").symlink_to("..")
    (root / "empty class").mkdir()
    (root / ".hidden").mkdir()
    (root / "loose.png").write_bytes(picture(2))
    (root / "dog" / "Ä花.png").write_bytes(picture(3))
    (root / "dog" / "._0.png").write_bytes(b"what another system keeps beside a file")
    os.mkfifo(root / "dog" / "pipe.png")
    Image.new("1", (20_000, 20_000)).save(root / "dog" / "bomb.png")
    with (root / "dog" / "huge.png").open("wb") as file:
        file.truncate(1 << 40)  # a file of holes: it takes no room
    (root / "cat" / os.fsdecode(b"\xff.png")).write_bytes(picture(4))
    for stream in ("never", "always"):
        options = ImageOptions(undecodable=0.3, stream=stream)
        train, test = (load_dataset("folder", split, root, options=options) for split in ("train", "test"))
        told = {**remarks_on(train), **remarks_on(test)}
        assert set(told) == {
            "cat/empty.jpg",
            "cat/cut.png",
            "dog/text.jpg",
            "dog/notes.txt",
            "dog/self.png",
            "dog/._0.png",
            "dog/pipe.png",
            "dog/bomb.png",
            "dog/huge.png",
            "cat/loop",
            "empty class",
            ".hidden",
            "loose.png",
        }
        assert told["cat/empty.jpg"] == "it is empty"
        ids = [*train.ids, *test.ids]
        assert len(ids) == 22 and "dog/Ä花.png" in ids and r"cat/\xff.png" in ids
        assert len(train) == len(train.images) == len(train.labels)


def test_too_many_undecodable_files_are_refused_with_examples(tmp_path):
    root = fill(tmp_path)
    for i in range(4):
        (root / "cat" / f"{i}.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"4 of the 20 images of .*data\.undecodable=0\.05: .*\(it is empty\).* and 1 more"
    ):
        [load_dataset("folder", split, root) for split in ("train", "test")]


def test_a_class_of_which_nothing_can_be_decoded_is_refused(tmp_path):
    root = fill(tmp_path)
    (root / "cow").mkdir()
    for i in range(3):
        (root / "cow" / f"{i}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"'cow'.*can be decoded"):
        load_dataset("folder", "train", root, options=ImageOptions(undecodable=0.9))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: fill(root, classes=("cat",)), r"one class only \(cat\); .*two classes"),
        (lambda root: root.mkdir(), "holds no folder of images; a classifier needs"),
        (lambda root: fill(root / "train") and fill(root / "test", classes=("cat", "cow")), "'cow'.*no image to train"),
        (
            lambda root: fill(root, per_class=1),
            "holds out none of the 2 images .* because no class has two; add images",
        ),
        (lambda root: photographs_of_phones(root), r"10 files are passed over, as cat/0\.heic: only \.jpg, "),
        (lambda root: fill(root / "train") and (root / "test" / "cat").mkdir(parents=True), "test folder.*no image"),
    ],
)
def test_a_folder_that_will_not_do_is_refused_in_a_sentence(tmp_path, make, message):
    make(tmp_path / "images")
    with pytest.raises(UserError, match=message):
        load_dataset("folder", "train", tmp_path / "images")


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path):
    root, elsewhere = fill(tmp_path / "images"), fill(tmp_path / "elsewhere", classes=("more",), seed=5)
    (root / "dog" / "more").symlink_to(elsewhere / "more")
    assert sum(dataset_info("folder", root).sizes.values()) == 30


def test_duplicates_across_the_parts_are_told(tmp_path):
    for split in ("train", "test"):
        fill(tmp_path / split, 4, seed=len(split))
    (tmp_path / "test" / "dog" / "copy.png").write_bytes((tmp_path / "train" / "cat" / "1.png").read_bytes())
    told = [remark for remark in prepare("folder", tmp_path, validation=0).remarks if remark.consequence == "kept"]
    assert [remark.place for remark in told] == ["test image test/dog/copy.png"]
    assert "train/cat/1.png" in told[0].problem


@pytest.mark.parametrize("stream", ["never", "always"])
def test_duplicates_are_told_whatever_their_files(tmp_path, cache, stream):
    root = tmp_path / "images"
    for split in ("train", "test"):
        fill(root / split, 4, seed=len(split))
    Image.open(root / "train" / "cat" / "1.png").save(root / "test" / "cat" / "copy.bmp")
    for _ in range(2):  # decoded, and as the cache knows them
        splits = prepare("folder", root, validation=0, options=ImageOptions(stream=stream))
        assert [remark.place for remark in splits.remarks] == ["test image test/cat/copy.bmp"]


def test_streamed_images_are_the_same_images(tmp_path, cache):
    root = fill(tmp_path / "images")
    in_memory = load_dataset("folder", "train", root)
    streamed = load_dataset("folder", "train", root, options=ImageOptions(stream="always"))
    assert isinstance(streamed.images, StoredImages)
    assert streamed.images.shape == in_memory.images.shape
    assert np.array_equal(np.asarray(streamed.images), in_memory.images)
    chosen = streamed.images[np.array([5, 2])]
    assert np.array_equal(np.asarray(chosen), in_memory.images[[5, 2]])
    assert np.array_equal(streamed.images[-1], in_memory.images[-1])


def test_a_streamed_folder_is_checked_once_and_again_where_a_file_changed(tmp_path, cache, monkeypatch):
    root = fill(tmp_path / "images")
    folder, options = scan(root, ImageOptions(stream="always")), ImageOptions(stream="always")
    decoded = []

    def counting(reader, content, position, original=ImageReader.decode):
        decoded.append(position)
        return original(reader, content, position)

    monkeypatch.setattr(ImageReader, "decode", counting)
    first = load(folder, "train", options)
    assert len(decoded) == 16
    again = load(folder, "train", options)
    assert len(decoded) == 16
    assert np.array_equal(first.images.digests, again.images.digests)
    (root / first.ids[3]).write_bytes(b"")
    after = load(folder, "train", ImageOptions(stream="always", undecodable=0.5))
    assert len(decoded) == 17 and len(after) == 15 and remarks_on(after)[first.ids[3]] == "it is empty"


def test_the_first_images_are_some_of_every_class(tmp_path):
    splits = prepare("folder", fill(tmp_path, classes=("a", "b", "c", "d")), subset=12, test_subset=4, validation=0)
    assert np.bincount(splits.train.labels, minlength=4).min() >= 2
    assert np.bincount(splits.test.labels, minlength=4).tolist() == [1] * 4


@pytest.mark.parametrize("closed", [".", "dog", ".."])
def test_a_folder_without_permission_is_told_in_a_sentence(closed):
    was_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as place:  # that of pytest is closed to other users
        Path(place).chmod(0o755)
        root = fill(Path(place) / "mine" / "images")
        (root / closed).chmod(0)
        try:
            if was_root:  # to whom every folder is open
                os.seteuid(65534)
            if closed == "dog":
                with pytest.raises(UserError, match="one class only"):
                    load_dataset("folder", "train", root)
            else:
                with pytest.raises(UserError, match=r"cannot be read \(Permission denied\); fix its permissions"):
                    load_dataset("folder", "train", root)
        finally:
            if was_root:
                os.seteuid(0)
            (root / closed).chmod(0o755)


def test_a_folder_called_train_beside_classes_is_refused_as_unclear(tmp_path):
    for name in ("car", "train", "bus"):
        fill(tmp_path / name, 2, classes=("2019", "2020"))
    with pytest.raises(UserError, match=r"may be a split or a class.*rename it"):
        load_dataset("folder", "train", tmp_path)


def test_beside_the_splits_nothing_is_passed_over_silently(tmp_path):
    for split in ("train", "test"):
        fill(tmp_path / split, 2, seed=len(split))
    (tmp_path / "loose.png").write_bytes(picture(1))
    (tmp_path / ".hidden").mkdir()
    assert {"loose.png", ".hidden"} <= set(remarks_on(load_dataset("folder", "train", tmp_path)))


@pytest.mark.parametrize("record", ["[]", '{"cat/0.png": 3}', "no json", '{"cat/0.png": ["1", 2, 3]}'])
def test_a_damaged_record_costs_a_pass_and_nothing_else(tmp_path, cache, record):
    root = fill(tmp_path / "images")
    load_dataset("folder", "train", root, options=ImageOptions(stream="always"))
    for file in (tmp_path / "cache" / "folders").iterdir():
        file.write_text(record)
    assert len(load_dataset("folder", "train", root, options=ImageOptions(stream="always"))) == 16


# Folders with so many images each; the classes and the training and test images that they are read as, or the error.
LAYOUTS = {
    "stray pictures beside the classes of a split": (
        {"train/daisy": 4, "train/rose": 4, "test/daisy": 2, "test/rose": 2, "train": 1},
        (("daisy", "rose"), 8, 4),
    ),
    "stray pictures beside the classes": ({"daisy": 5, "rose": 5, ".": 2}, (("daisy", "rose"), 8, 2)),
    "splits of loose pictures": ({"train": 4, "test1": 4}, r"splits without classes: test1 \(4 images\) and train"),
    "names of splits with something added": ({"seg_train": 4, "seg_test": 4}, "splits without classes"),
    "splits of two kinds of loose pictures": (
        {"trainA": 4, "trainB": 4, "testA": 2, "testB": 2},
        r"splits without classes: testA \(2 images\) and testB \(2 images\) and trainA .* and trainB",
    ),
    "splits of loose pictures, their names in one word": (
        {"TrainSet": 4, "testimages": 4},
        "splits without classes",
    ),
    "a split of pictures and their masks": ({"train_images": 4, "train_masks": 4}, "splits without classes"),
    "a test of pictures and their labels": ({"test_images": 4, "test_labels": 4}, "splits without classes"),
    "a split of inputs and targets": ({"train_x": 4, "train_y": 4}, "splits without classes"),
    "a split of another name, of loose pictures": ({"train": 4, "dev": 4}, "splits without classes"),
    "classes with a word for a split in their names": (
        {"freight train": 5, "passenger train": 5},
        (("freight train", "passenger train"), 8, 2),
    ),
    "an unlabelled test and what a Mac leaves": (
        {"train/cat": 4, "train/dog": 4, "test": 3, "test/__MACOSX": 0},
        "test holds 3 images and no class folders",
    ),
    "a class with a space more in the test": (
        {"train/cat": 2, "train/dog": 2, "test/cat ": 1, "test/dog": 1},
        "'cat ' .* rename it to 'cat' if it is the same class",
    ),
    "splits with something added, of classes": (
        {"seg_train/sea": 4, "seg_train/street": 4, "seg_test/sea": 2, "seg_test/street": 2, "seg_pred/seg_pred": 3},
        "seg_test and seg_train, which seem to be splits; rename them to train",
    ),
    "splits with something added, each within its own name": (
        {"seg_train/seg_train/sea": 4, "seg_train/seg_train/street": 4, "seg_test/seg_test/sea": 2},
        "seg_test and seg_train, which seem to be splits",
    ),
    "an unlabelled test1 beside train with classes": (
        {"train/cat": 4, "train/dog": 4, "test1": 3},
        r"test1 holds 3 images and no class folders, so nothing says what they show",
    ),
    "an unlabelled test1 beside a test with classes": (
        {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2, "test1": 3},
        (("cat", "dog"), 8, 4),
    ),
    "classes and an unlabelled test": ({"cat": 4, "dog": 4, "test": 3}, r"splits without classes: test \(3 images\)"),
    "an unlabelled test beside a train folder": (
        {"train/cat": 4, "train/dog": 4, "test": 3},
        r"test holds 3 images and no class folders",
    ),
    "classes and a test of classes": (
        {"cat": 4, "dog": 4, "test/cat": 2, "test/dog": 2},
        "test holds folders, as a split does, but there is no folder train of classes beside it",
    ),
    "test and val without train": (
        {"test/0": 4, "test/1": 4, "val/0": 2, "val/1": 2},
        "test holds folders, as a split does, but there is no folder train",
    ),
    "train of classes beside classes": ({"train/cat": 4, "train/dog": 4, "cow": 4}, "may be a split or a class"),
    "two names for one split": ({"train/cat": 2, "train/dog": 2, "val/cat": 2, "valid/cat": 2}, "val and valid"),
    "names of splits in capitals": (
        {"TRAIN/cat": 2, "TRAIN/dog": 2, "Testing/cat": 1, "Testing/dog": 1},
        (("cat", "dog"), 4, 2),
    ),
    "an empty val folder": ({"train/cat": 5, "train/dog": 5, "val": 0}, (("cat", "dog"), 8, 2)),
    "an empty class": ({"cat": 5, "dog": 5, "cow": 0}, (("cat", "dog"), 8, 2)),
    "a class without training images": (
        {"train/cat": 2, "train/dog": 2, "test/cow": 1},
        "'cow' .* has no image to train on, only for test",
    ),
    "a class in other letters in the test": (
        {"train/Cat": 2, "train/dog": 2, "test/cat": 1, "test/dog": 1},
        "'cat' .* has no image to train on, only for test; rename it to 'Cat' if it is the same class",
    ),
    "one class": ({"cat": 5}, r"one class only \(cat\); .* put the images of each class into a folder"),
    "pictures alone": ({".": 5}, r"holds no folder of images \(images lie in the folder itself\)"),
    "the folder above": (
        {"flowers/daisy": 4, "flowers/rose": 4},
        r"one class only \(flowers\); .*name .*flowers if the folders in it are the classes",
    ),
    "classes one folder further down in each split": (
        {f"{split}/images/{name}": 2 for split in ("train", "test") for name in ("cat", "dog")},
        r"one class only \(images\); a classifier needs two classes or more: put the images of each class",
    ),
    "the folder above the splits": (
        {"flowers/train/a": 2, "flowers/test/a": 2, "other/train/b": 2, "other/test/b": 2},
        r"flowers holds the folders test and train; name .*flowers if that is the data set",
    ),
    "splits below the classes": (
        {"cat/train": 4, "cat/test": 2, "dog/train": 4, "dog/test": 2},
        "put the classes into the splits, as test/cat",
    ),
    "the folder above two data sets": (
        {"raw/daisy": 2, "raw/rose": 2, "small/daisy": 2, "small/rose": 2, "notes": 0},
        "daisy, rose are in all of them",
    ),
    "the folder above two data sets of digits": (
        {f"{name}/{digit}": 2 for name in ("raw", "small") for digit in range(10)},
        "0, 1, 2 and 7 more are in all of them",
    ),
    "classes in folders of their own": (
        {"car/2019": 4, "car/2020": 4, "bus/2019": 4, "bus/2020": 4},
        (("bus", "car"), 12, 4),
    ),
    "classes of classes": (
        {"flower/daisy": 4, "flower/rose": 4, "tree": 4, "tree/oak": 4},
        (("flower", "tree"), 12, 4),
    ),
    "images and masks": ({"images": 5, "masks": 5}, "classes images and masks, which do not say what the images show"),
    "a class called train": ({"train": 5, "bus": 5}, (("bus", "train"), 8, 2)),
    "odd names": (
        {"a b": 5, "Ä花": 5, "line\nbreak": 5, "quote'\"<b>": 5},
        (("a b", r"line\nbreak", "quote'\"<b>", "Ä花"), 16, 4),
    ),
    "one name in two forms of Unicode": ({"caf\u00e9": 4, "cafe\u0301": 4, "tea": 8}, (("caf\u00e9", "tea"), 12, 4)),
    "names that differ in capitals": ({"A": 5, "a": 5}, (("A", "a"), 8, 2)),
}


def fill_layout(root, folders):
    for i, (name, count) in enumerate(folders.items()):
        fill(root, count, classes=(name,), seed=100 + i)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_means_what_it_seems_or_is_refused(tmp_path, layout):
    folders, expected = LAYOUTS[layout]
    fill_layout(tmp_path, folders)
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            load_dataset("folder", "train", tmp_path)
        return
    class_names, train, test = expected
    found = [load_dataset("folder", split, tmp_path) for split in ("train", "test")]
    assert (found[0].class_names, *map(len, found)) == (class_names, train, test)


@pytest.mark.parametrize(
    ("layout", "remark"),
    [
        ("stray pictures beside the classes", ("0.png", "in no class folder", "passed over")),
        ("an empty val folder", ("val", "the folder holds no image", "left out")),
        ("an empty class", ("cow", "the class folder in train holds no image", "left out")),
        (
            "classes of classes",
            ("flower", "it has no image of its own, only the folders daisy, rose", "kept as one class"),
        ),
        (
            "names that differ in capitals",
            ("A", "the name differs from 'a' only in upper and lower case or in spaces", "kept as a class of its own"),
        ),
    ],
)
def test_what_is_odd_about_a_folder_is_told(tmp_path, layout, remark):
    fill_layout(tmp_path, LAYOUTS[layout][0])
    assert remark in [tuple(each) for each in load_dataset("folder", "train", tmp_path).remarks]


def test_an_archive_is_not_a_folder(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"images\.zip is not a folder; unpack it if it is an archive"):
        load_dataset("folder", "train", tmp_path / "images.zip")


def test_linked_folders_are_classes_and_the_root_may_be_one(tmp_path):
    elsewhere = fill(tmp_path / "elsewhere", classes=("x", "y"))
    root = tmp_path / "images"
    root.mkdir()
    (root / "cat").symlink_to(elsewhere / "x")
    (root / "dog").symlink_to(elsewhere / "y")
    (root / "gone").symlink_to(elsewhere / "z")
    (root / "again").symlink_to(root / "cat")
    (root / "round").symlink_to(".")
    (tmp_path / "link").symlink_to(root)
    train = load_dataset("folder", "train", tmp_path / "link")
    assert train.class_names == ("again", "cat", "dog") and len(train) == 24
    told = [remark.problem for remark in train.remarks if remark.place == "round"]
    assert told[0] == "the link leads back into the folder of images"
    assert remarks_on(train)["gone"] == "in no class folder"
    assert prepare("folder", root).overview["warnings"][-1] == "10 images stand in more than one class."


def test_tiffs_with_an_orientation_have_one_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.new("RGB", (16, 12), (i, 0, 0)).save(tmp_path / name / f"{i}.tif", exif=exif)
    assert load_dataset("folder", "train", tmp_path).image_shape == (16, 12, 3)
