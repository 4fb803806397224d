"""Folders of images as people lay them out: read as what they are, or refused with what was understood."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxtl.data.prepare import prepare
from tests.data.test_folder import LAYOUTS, fill, fill_layout, picture
from tests.faults.case import Case, Expected, Refused

Make = Callable[[Path], Any]
# Classes, images to train on, images to test on.
Found = tuple[tuple[str, ...], int, int]

CLASSES = {"cat": 5, "dog": 5}
PARTED = {f"{split}/{name}": 4 for split in ("train", "test") for name in ("cat", "dog")}


def cases() -> Iterator[Case]:
    """Those that tests/data knows, and more."""
    for what, (folders, expected) in LAYOUTS.items():
        yield Case(what, _reading(folders), _must(expected))
    for what, folders, change, expected in _more():
        yield Case(what, _reading(folders, change), _must(expected))
    for what, folders, change, warning in _warned():
        told = f"read, and warn: “{warning}”"
        yield Case(
            what, _reading(folders, change), Expected(told, lambda found, warning=warning: warning in _told(found))
        )


def _reading(folders: Mapping[str, int], change: Make | None = None) -> Callable[[Path], Any]:
    def act(folder: Path) -> Any:
        root = folder / "images"
        fill_layout(root, folders)
        if change:
            change(root)
        return _Read(prepare("folder", root, validation=0.0))

    return act


class _Read:
    """What was read, in words."""

    def __init__(self, splits: Any) -> None:
        self.found: Found = splits.train.class_names, len(splits.train), len(splits.test)
        self.remarks = [f"{remark.place}: {remark.problem}" for remark in splits.remarks]
        self.warnings = splits.overview["warnings"]

    def __str__(self) -> str:
        names, train, test = self.found
        told = self.warnings or self.remarks[:1]
        return f"{', '.join(names)}: {train} to train on, {test} to test on{'; ' if told else ''}{' '.join(told)}"


def _must(expected: Found | str) -> Expected:
    if isinstance(expected, str):
        words = [word.strip() for word in expected.replace("\\", "").split(".*")]
        return Expected(
            f"refuse: “{' … '.join(words)}”",
            lambda found: isinstance(found, Refused) and all(word in found.sentence for word in words),
        )
    names, train, test = expected
    text = f"read {', '.join(names)}: {train} to train on, {test} to test on"
    return Expected(text, lambda found: isinstance(found, _Read) and found.found == expected)


def _told(found: Any) -> str:
    return " ".join(found.warnings + found.remarks) if isinstance(found, _Read) else ""


def _more() -> Iterator[tuple[str, Mapping[str, int], Make | None, Found | str]]:
    both = ("cat", "dog")
    yield "no such folder", {}, None, "does not exist"
    yield "a file in place of the folder", {}, lambda root: root.write_bytes(picture(1)), "is not a folder"
    yield "an empty folder", {}, lambda root: root.mkdir(), "holds no folder of images"
    yield "train and val, no test", {"train/cat": 4, "train/dog": 4, "val/cat": 2, "val/dog": 2}, None, (both, 8, 4)
    yield (
        "a test folder whose classes are empty",
        {"train/cat": 4, "train/dog": 4},
        (lambda root: (root / "test" / "cat").mkdir(parents=True)),
        "The test folder",
    )
    yield "one picture in each class", {"cat": 1, "dog": 1}, None, "holds out none"
    yield "folders within the classes", {"cat/2019": 3, "cat/2020": 2, "dog/2019": 5}, None, (both, 8, 2)
    yield (
        "folds with the same classes",
        {f"fold{k}/{name}": 2 for k in (1, 2) for name in both},
        None,
        ("are in all of them"),
    )
    yield (
        "what systems and programs leave behind (.git, __MACOSX, .DS_Store, Thumbs.db)",
        CLASSES,
        _litter,
        (both, 8, 2),
    )
    yield "a class that is a link", {"cat": 5}, _linked_class, (both, 8, 2)
    yield "a link that leads back", CLASSES, lambda root: (root / "cat" / "up").symlink_to(root), (both, 8, 2)
    yield "suffixes in capitals", CLASSES, _capitals, (both, 8, 2)
    yield (
        "a table of labels beside loose pictures",
        {"train": 6},
        (lambda root: (root / "labels.csv").write_text("file,label\n0.png,cat\n")),
        "splits without classes",
    )
    yield (
        "images and labels of a detector",
        {"train/images": 4, "valid/images": 2},
        (lambda root: (root / "train" / "labels").mkdir()),
        "a classifier needs two classes",
    )
    yield "nothing but text in one class", {"cat": 5}, _text_class, "a classifier needs two classes"
    yield "a class of which no picture can be decoded", {"cat": 40}, _empty_files, "can be decoded"


def _warned() -> Iterator[tuple[str, Mapping[str, int], Make | None, str]]:
    yield "a class without test images", {**PARTED, "train/cow": 4}, None, "No test images: cow."
    yield "ten times as many cats as dogs", {"cat": 50, "dog": 5}, None, "The classes are unbalanced"
    yield (
        "one picture in train and test",
        PARTED,
        (lambda root: shutil.copy(root / "train/cat/0.png", root / "test/cat/again.png")),
        "stands in more than one part",
    )
    yield (
        "one picture in two classes",
        PARTED,
        (lambda root: shutil.copy(root / "train/cat/0.png", root / "train/dog/again.png")),
        "stands in more than one class",
    )


def _litter(root: Path) -> None:
    for place in (".git", "__MACOSX"):
        (root / place).mkdir()
        (root / place / "._0.png").write_bytes(b"x")
    for name in (".DS_Store", "Thumbs.db", "cat/Thumbs.db", "cat/.DS_Store", "cat/._0.png"):
        (root / name).write_bytes(b"x")


def _linked_class(root: Path) -> None:
    fill(root.parent / "elsewhere", 5, classes=("dog",), seed=7)
    (root / "dog").symlink_to(root.parent / "elsewhere" / "dog")


def _capitals(root: Path) -> None:
    for path in sorted(root.rglob("*.png")):
        path.rename(path.with_suffix(".PNG"))


def _text_class(root: Path) -> None:
    (root / "dog").mkdir()
    (root / "dog" / "notes.txt").write_text("no picture")


def _empty_files(root: Path) -> None:
    (root / "dog").mkdir()
    for i in range(2):
        (root / "dog" / f"{i}.png").touch()
