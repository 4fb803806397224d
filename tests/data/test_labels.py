"""Tables of image files and labels: CSV files and data frames."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxtl.config import check, default_config
from jaxtl.data import ImageOptions, load_dataset
from jaxtl.data.catalogue import dataset_info, given, given_rows
from jaxtl.data.dataset import from_arrays
from jaxtl.data.labels import frame_rows, is_frame, read_table
from jaxtl.errors import UserError

NAMES = [f"{i}.png" for i in range(8)]


@pytest.fixture
def root(tmp_path_factory):
    """Eight images of one colour each, in one folder, whose name has a capital."""
    folder = tmp_path_factory.mktemp("Photographs")
    for i, name in enumerate(NAMES):
        content = io.BytesIO()
        Image.fromarray(np.full((6, 6, 3), 10 * i, np.uint8)).save(content, "PNG")
        (folder / name).write_bytes(content.getvalue())
    return folder


def table(root, lines, header="path,label,split", file="labels.csv"):
    (root / file).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return root / file


def load(split, labels, folder=None, **options):
    return load_dataset("folder", split, folder, options=ImageOptions(labels=str(labels), **options))


LINES = [f"{name},{'odd' if i % 2 else 'even'},{'train' if i < 4 else 'Test'}" for i, name in enumerate(NAMES)]


def test_a_table_says_label_and_split(root):
    file = table(root, LINES)
    train, test = load("train", file), load("test", file)
    assert train.class_names == ("even", "odd")
    assert dict(zip(train.ids, train.labels, strict=True)) == {"0.png": 0, "1.png": 1, "2.png": 0, "3.png": 1}
    assert sorted(test.ids) == NAMES[4:]
    assert [int(image[0, 0, 0]) // 10 for image in train.images] == [int(name[0]) for name in train.ids]


def test_a_table_of_windows_names_the_same_files(root):
    (root / "deep").mkdir()
    for name in NAMES:
        (root / name).rename(root / "deep" / name)
    file = root / "labels.csv"
    file.write_bytes("\r\n".join(["path;label;split", *(f"deep\\{line}".replace(",", ";") for line in LINES)]).encode())
    assert sorted(load("train", file).ids) == [f"deep/{name}" for name in NAMES[:4]]


def test_paths_are_relative_to_the_table_or_to_the_folder(root, tmp_path_factory):
    elsewhere = table(tmp_path_factory.mktemp("tables"), LINES)
    assert len(load("train", elsewhere, root)) == 4
    with pytest.raises(
        UserError, match=r"^Line 2 of .*labels.csv names 0.png, but .* has no such file; correct it, or"
    ):
        load("train", elsewhere)
    absolute = table(elsewhere.parent, [f"{root / line}" for line in LINES], file="absolute.csv")
    assert len(load("train", absolute)) == 4


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_what_a_spreadsheet_writes(root, separator):
    lines = [line.replace(",", separator) for line in LINES]
    file = table(root, [*lines, separator * 3, ""], separator.join([" Path", "LABEL", "split", "note"]))
    content = file.read_text().splitlines()
    rows = [content[0], *(f"{line}{separator}" for line in content[1:9]), *content[9:]]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    assert len(load("train", file)) == 4


def test_without_a_column_of_splits_a_test_is_held_out(root):
    file = table(root, [line.rpartition(",")[0] for line in LINES], "path,label")
    assert (len(load("train", file, test=0.5)), len(load("test", file, test=0.5))) == (4, 4)
    assert list(load("test", file).ids) == list(load("test", file).ids)


def test_options_may_be_a_path_and_numbers_of_numpy(root):
    options = ImageOptions(labels=table(root, LINES), size=np.int64(5), undecodable=np.float32(0.5))
    assert len(load_dataset("folder", "train", root, options=options)) and isinstance(options.labels, str)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"size": -1}, "size is -1, but must be a whole number of 0 or more."),
        ({"size": 2.5}, "size is 2.5, but must be a whole number of 0 or more."),
        ({"workers": True}, "workers is True, but must be a whole number of 0 or more."),
        ({"channels": 2}, "channels is 2, but must be 1 or 3."),
        ({"fit": "pad"}, "fit is 'pad', but must be one of crop, stretch."),
        ({"labels": 3}, "labels is 3, but must be a text or a pathlib.Path."),
        ({"test": float("nan")}, "test is nan, but must be a number in (0, 1)."),
    ],
)
def test_options_that_cannot_be(option, told):
    with pytest.raises(UserError) as info:
        ImageOptions(**option)
    assert str(info.value) == told


def test_validation_without_a_test_becomes_the_test(root):
    file = table(root, [line.replace("Test", "valid") for line in LINES])
    assert dataset_info("folder", None, ImageOptions(labels=str(file))).sizes == {"train": 4, "test": 4}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0.png,even,train", "Line 10 of .* names 0.png again, after line 2 of .*; remove one of the two."),
        ("./0.png,even,train", "Line 10 of .* names ./0.png again"),
        ("{root}/0.png,even,train", "Line 10 of .* names /.*/0.png again, after line 2 of {root}/labels.csv"),
        ("x" * 300 + ",even,train", "Line 10 of .* names x+, but .* has no such file"),
        ("8.png,even,train", "Line 10 of .* names 8.png, but .* has no such file; correct it, or set data.dir."),
        ("0.png,,train", "Line 10 of .* has no label; fill it in, or remove the row."),
        (" ,even,train", "Line 10 of .* has no path; fill it in"),
        ("0.png,even,tarin", "Line 10 of .* has the split 'tarin', which does not exist; did you mean 'train'?"),
        ("0.png,even,", "Line 10 of .* has no split; fill it in"),
        ("0.png,even", "Line 10 of .* has 2 values, but the first line names 3 columns; put a value"),
        ('0.png,"even,train', "Line 10 of .* is not CSV .*; correct its quotes."),
    ],
)
def test_a_wrong_line_is_named(root, line, sentence):
    with pytest.raises(UserError, match="^" + sentence.replace("{root}", str(root))) as error:
        load("train", table(root, [*LINES, line.replace("{root}", str(root))]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "lines", "sentence"),
    [
        (
            "file,label",
            ["0.png,even"],
            "A column 'path' is missing in .*, which has: 'file', 'label'; add or rename it.",
        ),
        ("path,split", ["0.png,train"], "A column 'label' is missing in"),
        ("path,label,label", ["0.png,even,odd"], "The column 'label' is twice in .*; rename one of the two."),
        ("path,label,split", ["0.png,even,test"], "No row of .* names an image to train on; give some the split"),
        ("path,label", [], "No row of .* names an image to train on"),
        ("path,label", ["0.png,even", "1.png,even"], "All rows of .* have the label 'even'; a classifier needs two"),
        (
            "path,label,split",
            [*LINES, "../x,odd,test"],
            r"Line 10 of .* names \.\./x, but",
        ),
        (
            "path,label,split",
            [*LINES[:7], "7.png,new,test"],
            "The class 'new' of .* has no image to train on, only for test",
        ),
    ],
)
def test_a_wrong_table_is_one_sentence(root, header, lines, sentence):
    with pytest.raises(UserError, match=f"^{sentence}"):
        load("train", table(root, lines, header))


def test_a_file_that_is_no_table(root):
    with pytest.raises(UserError, match=r"^The table .*nowhere.csv cannot be read \(No such file"):
        read_table(root / "nowhere.csv")
    with pytest.raises(UserError, match="is not UTF-8 text; save it as a CSV file in UTF-8"):
        read_table(root / "0.png")
    (root / "empty.csv").touch()
    with pytest.raises(UserError, match=r"A column 'path' is missing in .*, which has: none"):
        read_table(root / "empty.csv")


def test_a_table_needs_the_data_set_folder(root):
    config = default_config()
    config.data.labels, config.data.name = str(table(root, LINES)), "digits"
    assert check(config) == [
        f"data.labels is {config.data.labels!r}, but data.name is 'digits'; set data.name to 'folder'."
    ]


class Frame(dict):
    """As much of a data frame as is asked for: columns by name."""

    @property
    def columns(self):
        return list(self)

    def __len__(self):
        return len(self["path"])


class NotAvailable:
    """Compares as ``pandas.NA`` does."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


def test_data_frames(root):
    labels = [i % 2 for i in range(8)]
    whole = Frame(path=[root / name for name in NAMES], label=labels, split=["train"] * 4 + ["test"] * 4)
    train = Frame(path=whole["path"][:4], label=labels[:4], split=["never"] * 4)
    test = Frame(path=whole["path"][4:], label=labels[4:])
    assert is_frame(whole) and not is_frame(np.zeros(3)) and not is_frame(({}, {}))
    for frames in ({"train": whole}, {"train": train, "test": test}):
        with given_rows(frame_rows(frames)) as name:
            assert dataset_info(name).sizes == {"train": 4, "test": 4}
            loaded = load_dataset(name, "train")
        assert loaded.class_names == ("0", "1") and sorted(Path(path).name for path in loaded.ids) == NAMES[:4]
    with pytest.raises(UserError, match=r"^A column 'label' is missing in the data frame of train, which has: 'path'"):
        frame_rows({"train": Frame(path=[])})
    with pytest.raises(UserError, match=r"^test is not a data frame, but others are; give all splits in one form"):
        frame_rows({"train": train, "test": ([], [])})
    for nothing in (float("nan"), None, " ", NotAvailable()):
        empty = frame_rows({"train": Frame(path=["a"], label=[nothing])})
        with given_rows(empty) as name, pytest.raises(UserError, match=r"^Row 0 of the data frame of train has no lab"):
            dataset_info(name)


def test_pandas(root):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed, and jaxtl does without")
    frame = pandas.read_csv(table(root, LINES))
    frame["path"] = [str(root / name) for name in frame["path"]]
    with given_rows(frame_rows({"train": frame})) as name:
        assert dataset_info(name).sizes == {"train": 4, "test": 4}


# --- arrays ----------------------------------------------------------------------------------------------------------


def test_arrays_become_data_sets():
    images = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    parts = from_arrays({"train": (images, [7, 5, 7, 10]), "test": (images[..., None], np.array([5, 5, 10, 7]))})
    assert parts["train"].class_names == ("5", "7", "10")
    assert parts["train"].labels.tolist() == [1, 0, 1, 2] and parts["test"].labels.tolist() == [0, 0, 2, 1]
    assert parts["train"].image_shape == parts["test"].image_shape == (5, 6, 1)
    named = from_arrays({"train": (images, np.array(["b", "a", "b", "a"], object))})["train"]
    assert named.class_names == ("a", "b") and named.labels.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (np.zeros(3), "test is a ndarray, but all splits are given as jaxtl.Dataset, all as a pair"),
        ((np.zeros((2, 4, 4), np.uint8), [0, 2]), "The test images have the label 2, which no training image has"),
        ((np.zeros((2, 4, 4), np.uint8), np.eye(2)), r"The labels of test are float64 of shape \(2, 2\), but must be"),
        ((np.zeros((2, 4, 4), np.uint8), np.array(["a", None])), "The labels of test are object of shape"),
        ((np.zeros((2, 4, 4)), [0, 1]), "The images of a data set must be uint8 of rank 4, not float64"),
        (([np.zeros((2, 2, 3)), np.zeros((3, 3, 3))], [0, 1]), "The images of test have different sizes"),
    ],
)
def test_wrong_arrays_are_one_sentence(part, sentence):
    images = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(UserError, match=f"^{sentence}"):
        from_arrays({"train": (images, [0, 1]), "test": part})


def test_arrays_of_one_class_are_refused():
    one = from_arrays({split: (np.zeros((2, 4, 4), np.uint8), [7, 7]) for split in ("train", "test")})
    with (
        pytest.raises(UserError, match=r"^The training images have the classes \('7',\); a classifier needs"),
        given(one),
    ):
        pass
