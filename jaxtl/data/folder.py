"""A folder of one's own images: ``root/class/*`` or ``root/{train,val,test}/class/*``, of any sizes and kinds.

Nothing is passed over silently: what is left out or looks wrong becomes a `Remark` of the data set. A folder that could
mean two things is refused, with what was understood.
"""

import contextlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxtl.data.dataset import Dataset, Remark
from jaxtl.data.decode import Undecodable, read_content, read_image
from jaxtl.data.decode_all import Progress, decode_all
from jaxtl.data.image_files import HIDDEN, composed, entries, images_below, is_image, shown
from jaxtl.data.options import ImageOptions
from jaxtl.data.split import stratified_split
from jaxtl.data.stored import ImageReader
from jaxtl.errors import UserError

NAME = "folder"

# What the folders of the splits are called.
_SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
# Names that people give to splits, and hardly to classes: test1, seg_train, val_images.
_LIKE_A_SPLIT = re.compile(r"(.*[_\- ])?(train(ing)?|val(id(ation)?)?|test(ing)?)\d*([_\- ].*)?", re.IGNORECASE)

_PASSED_OVER = "passed over"


class Files(NamedTuple):
    """The image files of one split, sorted by name, the classes in turns.

    Attributes:
      paths: relative to the root.
      labels: int32, one a path.
    """

    paths: tuple[str, ...]
    labels: np.ndarray

    def chosen(self, indices: np.ndarray) -> "Files":
        """Those at some indices."""
        return Files(tuple(self.paths[i] for i in indices), self.labels[indices])


class ImageFolder(NamedTuple):
    """What a folder holds, by its names alone.

    Attributes:
      root: the folder.
      class_names: K names, sorted, in Unicode's composed form.
      splits: by the name of the split, ``train``, ``test`` and sometimes ``val``.
      remarks: what was passed over.
    """

    root: Path
    class_names: tuple[str, ...]
    splits: dict[str, Files]
    remarks: tuple[Remark, ...]


def scan(root: Path, options: ImageOptions) -> ImageFolder:
    """Find classes, splits and files; nothing is opened.

    A folder without splits is split here, stratified by class. What was found is remembered as long as no folder below
    has changed: a start asks several times.

    Raises:
      UserError: there is no such folder, it cannot be read, it has fewer than two classes with images, a split has no
        image, or it cannot be told what its folders mean.
    """
    asked = (str(root.absolute()), options.test, options.split_seed)
    if asked in _SCANNED and all(_stamp(folder) == stamp for folder, stamp in _SCANNED[asked][1].items()):
        return _SCANNED[asked][0]
    walk = _Walk(root)
    found = _scan(walk, options)
    stamps = {folder: _stamp(folder) for folder in walk.seen}
    _SCANNED.clear()
    if max(stamps.values()) < time.time_ns() - _SETTLED_NS:
        _SCANNED[asked] = found, stamps
    return found


# The last scan, and when each folder below had changed last; a folder that has just changed may change within the same
# tick of the file system's clock.
_SCANNED: dict[tuple[str, float, int], tuple[ImageFolder, dict[str, int]]] = {}
_SETTLED_NS = 1_000_000_000


def _stamp(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 - of thousands of folders
    except OSError:
        return 0


def _scan(walk: "_Walk", options: ImageOptions) -> ImageFolder:
    root = walk.root
    found = {split: walk.classes(folder) for split, folder in walk.splits().items()}
    walk.refuse_folder_above()
    remarks = walk.remarks
    if "test" not in found and "val" in found:
        found["test"] = found.pop("val")
        remarks.append(Remark("val", "there is no test folder", "used as the test; validation is taken from train"))
    class_names = tuple(sorted({name for classes in found.values() for name, paths in classes.items() if paths}))
    for split, classes in found.items():
        empty = [name for name, paths in classes.items() if not paths]
        remarks += [Remark(name, f"the class folder holds no image ({split})", "left out") for name in empty]
    if len(class_names) < 2:
        loose = " (images lie in the folder itself)" if not class_names and walk.has_images(root) else ""
        only = f" ({class_names[0]})" if class_names else ""
        raise UserError(
            f"{root} has {len(class_names)} folder(s) of images{only}{loose}, but a classifier needs two classes or "
            "more: put the images of each class into a folder named after it, and name the folder that holds these."
        )
    splits = {split: _files(classes, class_names) for split, classes in found.items()}
    for name, count in zip(class_names, np.bincount(splits["train"].labels, minlength=len(class_names)), strict=True):
        if not count:
            raise UserError(f"The class {name!r} of {root} has no image to train on; add some, or remove the class.")
    if "test" not in splits:
        everything = splits["train"]
        rest, held = stratified_split(everything.labels, options.test, options.split_seed)
        if not held.size:
            raise UserError(
                f"data.test={options.test} holds out none of the {len(everything.paths)} images of {root}; hold out "
                "more, or take a folder with a test folder of its own."
            )
        splits["train"], splits["test"] = everything.chosen(rest), everything.chosen(held)
    if not splits["test"].paths:
        raise UserError(f"The test folder of {root} holds no image; fill it, or remove it and one will be split off.")
    return ImageFolder(root, class_names, splits, tuple(remarks))


def image_shape(folder: ImageFolder, options: ImageOptions) -> tuple[int, int, int]:
    """(H, W, C) of every image once it is read: ``options.size``, or the size of the first one that can be decoded."""
    if options.size:
        return options.size, options.size, options.channels
    for path in folder.splits["train"].paths:
        with contextlib.suppress(Undecodable):
            height, width, _ = read_image(folder.root / path).shape
            return height, width, options.channels
    raise UserError(f"None of the image files under {folder.root} can be opened; put images there.")


class FileSource(NamedTuple):
    """The files below a root, as a ``jaxtl.data.stored.Source``."""

    root: str
    paths: tuple[str, ...]

    def name(self, position: int) -> str:
        """The path below the root, as it is shown."""
        return _relative(self.paths[position])

    def file(self, position: int) -> str:
        """The path below the root, as it is opened."""
        return self.paths[position]

    def content(self, position: int) -> bytes:
        """What the file holds."""
        return read_content(Path(self.root, self.paths[position]))


def load(folder: ImageFolder, split: str, options: ImageOptions, progress: Progress | None = None) -> Dataset:
    """Decode a split, into memory or, where that is too small, just to see that every file can be decoded.

    Returns:
      The images, ids their paths relative to the root; what was skipped among the remarks.

    Raises:
      UserError: too many files are undecodable, a class has no image left to train on, or no size is given and the
        images have different ones.
    """
    files, shape = folder.splits[split], image_shape(folder, options)
    source = FileSource(str(folder.root), files.paths)
    reader = ImageReader(source, shape, options.fit, "any" if options.size else "same", str(folder.root))
    images, kept, sizes, skipped = decode_all(
        reader,
        len(files.paths),
        folder.root,
        options,
        what=f"image files under {folder.root}",
        in_all=sum(len(each.paths) for each in folder.splits.values()),
        progress=progress,
    )
    if split == "train" and (lost := sorted({*files.labels} - {*files.labels[kept]})):
        raise UserError(
            f"None of the training images of the class {folder.class_names[lost[0]]!r} in {folder.root} can be "
            "decoded; add some, or remove the class."
        )
    return Dataset(
        images,
        files.labels[kept],
        folder.class_names,
        ids=np.array([source.name(i) for i in kept]),
        remarks=(*(folder.remarks if split == "train" else ()), *skipped),
        original_sizes=sizes,
    )


class _Walk:
    """A walk over the folders below a root: what is passed over becomes a remark.

    Attributes:
      root: where it begins.
      remarks: what was passed over so far.
      seen: the folders that were listed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.remarks: list[Remark] = []
        self.seen: set[str] = set()
        self._inside: dict[str, set[tuple[str, ...]]] = {}  # by class, where in its folder images lie; () is the folder
        try:
            exists = root.is_dir()
        except OSError as error:
            raise _unreadable(root, error) from error
        if not exists:
            raise UserError(f"The folder of images {root} does not exist; correct data.dir.")

    def splits(self) -> dict[str, Path]:
        """The folders of the splits; the root as ``train`` where it has none.

        A folder named train that holds images is a class where the others are classes too: of vehicles, for example.

        Raises:
          UserError: the names say splits and the content does not, or both could be meant.
        """
        folders, _, _ = self._list(self.root)
        named: dict[str, Path] = {}
        for split, names in _SPLITS.items():
            alike = [folder for folder in folders if folder.name.lower() in names]
            if len(alike) > 1:
                raise UserError(
                    f"{self.root} has the folders {' and '.join(shown(each.name) for each in alike)}, and either could "
                    f"be the {split} split; rename one of them."
                )
            named |= dict(zip((split,), alike, strict=False))
        others = [folder for folder in folders if folder not in named.values()]
        with_classes = [split for split, folder in named.items() if self._list(folder)[0]]
        if "train" not in with_classes:
            self._refuse_loose_splits(named, folders)
            return {"train": self.root}
        if len(named) == 1 and any(self._list(folder)[0] or self.has_images(folder) for folder in others):
            raise UserError(
                f"{named['train']} may be a split or a class, because it holds folders, and beside it lies "
                f"{shown(others[0].name)}; rename it, or move the images of each class together."
            )
        for split, folder in named.items():
            if split not in with_classes and (images := self._images_in(folder)):
                raise UserError(
                    f"{folder} holds {images} images and no class folders, so that nothing says what they show: put "
                    "them into class folders, or move them out of the folder of images (python -m jaxtl.predict "
                    "classifies them later)."
                )
        for place in others:
            self._pass_over(place, "it is none of train, val and test")
        self._pass_over_loose(self.root)
        return named

    def _refuse_loose_splits(self, named: dict[str, Path], folders: Sequence[Path]) -> None:
        """Refuse folders named as splits that hold pictures and no classes, unless one may be a class named train."""
        like_splits = [folder for folder in folders if _LIKE_A_SPLIT.fullmatch(folder.name)]
        loose = [folder for folder in like_splits if self._images_in(folder)]
        held_out = any(named.get(split) in loose for split in ("val", "test"))
        if loose and (held_out or not any(map(self._is_filled, set(folders) - set(like_splits)))):
            what = " and ".join(f"{shown(each.name)} ({self._images_in(each)} images)" for each in loose)
            raise UserError(
                f"{self.root} was understood as splits without classes: {what}. What the images show must be the name "
                "of a folder: put them into one folder a class, inside train and test or without these."
            )

    def classes(self, split: Path) -> dict[str, list[str]]:
        """For each class folder the image files below it, relative to the root."""
        self._pass_over_loose(split)
        classes: dict[str, list[str]] = {}
        for folder in self._list(split)[0]:
            name = composed(folder.name)
            images = list(images_below(folder, self._pass_over, self.root, self.seen))
            classes.setdefault(name, []).extend(os.path.relpath(path, self.root) for path in images)
            self._inside.setdefault(name, set()).update(
                each.relative_to(folder).parts for each in {path.parent for path in images}
            )
        return classes

    def refuse_folder_above(self) -> None:
        """Refuse a root whose folders are data sets or splits rather than classes.

        Raises:
          UserError: a class folder holds folders named as splits, or all hold no images but folders of the same names.
        """
        for name, folders in self._inside.items():
            splits = sorted({each for path in folders for each in path if each.lower() in sum(_SPLITS.values(), ())})
            if len(splits) > 1:
                raise UserError(
                    f"{self.root} was understood as a folder of classes, but {name} holds the folders "
                    f"{' and '.join(splits)}: if that is the data set, name {self.root / name}."
                )
        below = {name: {path[-1] for path in folders if path} for name, folders in self._inside.items()}
        if len(below) < 2 or any(() in folders for folders in self._inside.values()):
            return
        shared = {each for each in set.intersection(*below.values()) if not any(letter.isdigit() for letter in each)}
        if len(shared) > 1:
            raise UserError(
                f"{self.root} was understood as a folder of the classes {_some(sorted(below))}, but each of them holds "
                f"no image, only folders, and {_some(sorted(shared))} are in all of them: if these are the classes, "
                "name the folder that holds them."
            )
        self.remarks += [
            Remark(name, f"the class has no image of its own, only the folders {_some(sorted(inside))}", "one class")
            for name, inside in below.items()
            if len(inside) > 1
        ]

    def has_images(self, folder: Path) -> bool:
        """Whether image files lie in a folder itself."""
        return self._images_in(folder) > 0

    def _is_filled(self, folder: Path) -> bool:
        with contextlib.suppress(UserError):  # it cannot be read, which is told later
            return bool(self._images_in(folder) or self._list(folder)[0])
        return False

    def _images_in(self, folder: Path) -> int:
        return sum(map(is_image, self._list(folder)[1]))

    def _list(self, folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
        self.seen.add(str(folder))
        try:
            return entries(folder)
        except OSError as error:
            raise _unreadable(folder, error) from error

    def _pass_over_loose(self, folder: Path) -> None:
        """What lies beside the folders that count."""
        _, files, hidden = self._list(folder)
        for path in hidden:
            self._pass_over(path, HIDDEN)
        for path in files:
            self._pass_over(path, "it lies in no class folder")

    def _pass_over(self, path: Path, why: str) -> None:
        self.remarks.append(Remark(_relative(os.path.relpath(path, self.root)), why, _PASSED_OVER))


def _unreadable(folder: Path, error: OSError) -> UserError:
    return UserError(f"The folder {folder} cannot be read ({error.strerror or error}); fix its permissions.")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _files(classes: dict[str, list[str]], class_names: Sequence[str]) -> Files:
    """The files in turns, one of each class: the first N of them are then some of every class."""
    paths = [path for name in class_names for path in classes.get(name, [])]
    counts = [len(classes.get(name, [])) for name in class_names]
    labels = np.repeat(np.arange(len(class_names)), counts)
    turns = np.concatenate([np.arange(count) for count in counts])
    return Files(tuple(paths), labels.astype(np.int32)).chosen(np.lexsort((labels, turns)))


def _relative(path: str) -> str:
    """A path below the root as text that can be printed and written."""
    return shown(path).replace(os.sep, "/")
