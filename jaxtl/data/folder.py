"""A folder of one's own images: ``root/class/*`` or ``root/{train,val,test}/class/*``, of any sizes and kinds.

Nothing is passed over silently: what is left out or looks wrong becomes a `Remark` of the data set. A folder that could
mean two things is refused, with what was understood.
"""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxtl.data.collection import PASSED_OVER, Collection, with_test
from jaxtl.data.dataset import Remark
from jaxtl.data.decode import SUFFIXES, read_content
from jaxtl.data.image_files import HIDDEN, OTHER_SUFFIX, composed, entries, images_below, is_image, shown
from jaxtl.data.options import ImageOptions
from jaxtl.data.stored import Source
from jaxtl.errors import UserError, listed

NAME = "folder"

# What the folders of the splits are called, in lower case.
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
_SPLIT_NAMES = sum(SPLITS.values(), ())
# Names that people give to splits, and hardly to classes: test1, seg_train, val_images, TestSet, trainA.
_SPLIT = re.compile(r"train(ing)?|val(id(ation)?)?|test(ing)?|dev|eval(uation)?|holdout|unlabell?ed", re.IGNORECASE)
_LIKE_A_SPLIT = re.compile(
    rf"(.*[\W_])?({_SPLIT.pattern})(set|data(set)?|images?|imgs?|[a-z]?\d*)([\W_].*)?", re.IGNORECASE
)
_DATE = re.compile(r"(19|20)\d\d([-_. ]?\d\d)*")
# Names of what belongs together, and hardly of classes, where all are of this kind.
_NO_CLASSES = {"image", "images", "img", "imgs", "mask", "masks", "label", "labels", "annotation", "annotations", "gt"}

# By class, the places below its folder where images lie, as the names of folders; () is the folder itself.
Inside = dict[str, set[tuple[str, ...]]]


@dataclasses.dataclass(frozen=True, eq=False)
class FileSource:
    """The image files of one split, as a ``jaxtl.data.stored.Source``: N paths below the root, and labels, int32 [N].

    They are sorted by name, the classes in turns.
    """

    root: Path
    paths: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def ids(self) -> np.ndarray:
        """Their names, str [N]."""
        return np.array(list(map(_relative, self.paths)))

    def chosen(self, indices: np.ndarray) -> "FileSource":
        """Those at some positions."""
        return FileSource(self.root, tuple(self.paths[i] for i in indices), self.labels[indices])

    def name(self, position: int) -> str:
        """The path below the root, as it is shown."""
        return _relative(self.paths[position])

    def file(self, position: int) -> str:
        """The path below the root, as it is opened."""
        return self.paths[position]

    def content(self, position: int) -> bytes:
        """What the file holds."""
        return read_content(self.root / self.paths[position])


def scan(root: Path, options: ImageOptions) -> Collection:
    """Find classes, splits and files by their names alone; no file is opened.

    Class names are sorted, in Unicode's composed form. A folder without splits is split here, stratified by class.

    Raises:
      UserError: there is no such folder, it cannot be read, it has fewer than two classes with images, a split has no
        image, or the meaning of its folders is unclear.
    """
    root = root.absolute()
    walk = _Walk(root)
    found = {split: walk.classes(folder) for split, folder in walk.splits().items()}
    remarks = walk.remarks + _refuse_folder_above(root, walk.inside)
    class_names = _class_names(found)
    if len(class_names) < 2:
        raise _too_few_classes(walk, class_names)
    if {name.lower() for name in class_names} <= _NO_CLASSES:
        raise UserError(
            f"{root} was understood as a folder of the classes {' and '.join(class_names)}, which do not say what the "
            "images show; put the images of each class into a folder named after it."
        )
    return collect(str(root), root, found, remarks, options)


def collect(
    name: str, root: Path, found: dict[str, dict[str, list[str]]], remarks: list[Remark], options: ImageOptions
) -> Collection:
    """The collection of files that were found, in two classes or more.

    Args:
      name: what it is called, for error messages.
      root: the folder of the files.
      found: by split, among them ``train``, and class, paths below the root.
      remarks: what was noticed so far; more may be added.
      options: how images are read.

    Raises:
      UserError: a class has no image to train on, or a test without images is named or needed.
    """
    if "val" in found and not any(found["val"].values()):
        del found["val"]
        remarks.append(Remark("val", "the folder holds no image", "left out"))
    class_names = _class_names(found)
    for split, classes in found.items():
        empty = [name for name, paths in classes.items() if not paths]
        remarks += [Remark(name, f"the class folder in {split} holds no image", "left out") for name in empty]
    splits: dict[str, Source] = {split: _files(root, classes, class_names) for split, classes in found.items()}
    _check_names(name, found, class_names, remarks)
    splits, noticed = with_test(splits, name, options)
    if not len(splits["test"]):
        raise UserError(f"The test folder of {name} holds no image; fill it, or remove it and one will be split off.")
    return Collection(name, root, class_names, splits, (*remarks, *noticed), options.channels)


def _class_names(found: dict[str, dict[str, list[str]]]) -> tuple[str, ...]:
    return tuple(sorted({name for classes in found.values() for name, paths in classes.items() if paths}))


def _check_names(
    root: str, found: dict[str, dict[str, list[str]]], class_names: Sequence[str], remarks: list[Remark]
) -> None:
    """Refuse classes without training images; remark on names that differ in case or spaces alone."""
    for name in class_names:
        folded = name.casefold().strip()
        alike = [other for other in class_names if other != name and other.casefold().strip() == folded]
        if not found["train"].get(name):
            where = " and ".join(split for split, classes in found.items() if classes.get(name))
            hint = f"rename it to {alike[0]!r} if it is the same class" if alike else "add some, or remove the class"
            raise UserError(f"The class {name!r} of {root} has no image to train on, only for {where}; {hint}.")
        if alike:
            problem = f"the name differs from {alike[0]!r} only in upper and lower case or in spaces"
            remarks.append(Remark(name, problem, "kept as a class of its own"))


def _refuse_folder_above(root: Path, inside: Inside) -> list[Remark]:
    """Refuse a root whose folders are data sets or splits rather than classes; remark on classes of folders alone.

    Raises:
      UserError: a class folder holds folders named as splits, or all hold no images but folders of the same names.
    """
    for name, places in inside.items():
        splits = sorted({each for path in places for each in path if each.lower() in _SPLIT_NAMES})
        if len(splits) > 1:
            raise UserError(
                f"{root} was understood as a folder of classes, but {name} holds the folders "
                f"{' and '.join(splits)}; name {root / name} if that is the data set, or put the classes into "
                f"the splits, as {splits[0]}/{name}."
            )
    filled = {name: places for name, places in inside.items() if places}
    below = {name: {path[-1] for path in places} for name, places in filled.items() if () not in places}
    if len(below) == len(filled) > 1:
        shared = {each for each in set.intersection(*below.values()) if not _DATE.fullmatch(each)}
        if len(shared) > 1:
            raise UserError(
                f"{root} was understood as a folder of the classes {listed(sorted(below))}, but each of them "
                f"holds no image, only folders, and {listed(sorted(shared))} are in all of them; if these are the "
                "classes, name the folder that holds them, else move the images of each class together."
            )
    return [
        Remark(name, f"it has no image of its own, only the folders {listed(sorted(folders))}", "kept as one class")
        for name, folders in below.items()
        if len(folders) > 1
    ]


def _too_few_classes(walk: "_Walk", class_names: Sequence[str]) -> UserError:
    """The error for a root with less than two classes."""
    found = "holds no folder of images"
    way_out = "put the images of each class into a folder named after it, and name the folder that holds these"
    if class_names:
        found = f"holds the images of one class only ({class_names[0]})"
        inner = walk.root / class_names[0]
        if () not in walk.inside[class_names[0]] and inner.is_dir():
            way_out = f"name {inner} if the folders in it are the classes, else {way_out}"
    elif walk.images_in(walk.root):
        found += " (images lie in the folder itself)"
    if others := [remark.place for remark in walk.remarks if remark.problem == OTHER_SUFFIX]:
        way_out += f"; {len(others)} files are passed over, as {others[0]}: only {', '.join(SUFFIXES)} are read"
    return UserError(f"{walk.root} {found}; a classifier needs two classes or more: {way_out}.")


class _Walk:
    """A walk over the folders below a root: what is passed over becomes a remark.

    Attributes:
      root: where it begins.
      remarks: what was passed over so far.
      inside: what was found in the folders of the classes so far.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.remarks: list[Remark] = []
        self.inside: Inside = {}
        try:
            is_folder, exists = root.is_dir(), root.exists()
        except OSError as error:
            raise _unreadable(root, error) from error
        if not is_folder:
            what = "is not a folder; unpack it if it is an archive, or" if exists else "does not exist;"
            raise UserError(f"The folder of images {root} {what} correct data.dir.")

    def splits(self) -> dict[str, Path]:
        """The folders of the splits; the root as ``train`` where it has none.

        A folder named train that holds images is a class where the others are classes too: of vehicles, for example.

        Raises:
          UserError: the names say splits and the content does not, or both could be meant.
        """
        folders, _, _ = self._list(self.root)
        named: dict[str, Path] = {}
        for split, names in SPLITS.items():
            alike = [folder for folder in folders if folder.name.strip().lower() in names]
            if len(alike) > 1:
                raise UserError(
                    f"{self.root} has the folders {' and '.join(shown(each.name) for each in alike)}, and either could "
                    f"be the {split} split; rename one of them."
                )
            if alike:
                named[split] = alike[0]
        if "train" not in named or not self._list(named["train"])[0]:
            self._refuse_unnamed_splits(named, folders)
            return {"train": self.root}
        others = [folder for folder in folders if folder not in named.values()]
        for folder in (*named.values(), *others):
            is_split = folder in named.values() or ("test" not in named and _LIKE_A_SPLIT.fullmatch(folder.name))
            if is_split and (images := self.images_in(folder)) and not any(map(self._is_filled, self._list(folder)[0])):
                raise UserError(
                    f"{folder} holds {images} images and no class folders, so nothing says what they show; put them "
                    "into class folders, or move them out of the folder of images (python -m jaxtl.predict classifies "
                    "them later)."
                )
        if len(named) == 1 and (filled := [folder for folder in others if self._is_filled(folder)]):
            raise UserError(
                f"{named['train']} may be a split or a class, because it holds folders, and {shown(filled[0].name)} "
                "lies beside it; rename it, or move the images of each class together."
            )
        for place in others:
            self._pass_over(place, "none of train, val and test")
        self._pass_over_loose(self.root)
        return named

    def _refuse_unnamed_splits(self, named: dict[str, Path], folders: Sequence[Path]) -> None:
        """Refuse a root without a train folder of classes whose folders are splits all the same."""
        like_splits = [folder for folder in folders if _LIKE_A_SPLIT.fullmatch(folder.name)]
        loose = [folder for folder in like_splits if self.images_in(folder)]
        held_out = [named[split] for split in ("test", "val") if split in named]
        # One may be a class named train, or all: freight train and passenger train.
        are_classes = any(map(self._is_filled, {*folders} - {*like_splits})) or _are_of_one_kind(loose)
        if loose and ({*held_out} & {*loose} or not are_classes):
            what = " and ".join(f"{shown(each.name)} ({self.images_in(each)} images)" for each in loose)
            raise UserError(
                f"{self.root} was understood as splits without classes: {what}. What the images show must be the name "
                "of a folder: put them into one folder a class, inside train and test or without these."
            )
        for folder in held_out:
            if self._list(folder)[0]:
                raise UserError(
                    f"{folder} holds folders, as a split does, but there is no folder train of classes beside it; put "
                    f"the class folders of the training images into {self.root / 'train'}, or rename {folder.name}."
                )
        by_rest: dict[str, list[str]] = {}  # seg_train and seg_test are alike but for the name of the split
        for folder in filter(lambda folder: self._list(folder)[0], like_splits):
            by_rest.setdefault(_without_split(folder.name), []).append(shown(folder.name))
        if alike := [names for names in by_rest.values() if len(names) > 1]:
            raise UserError(
                f"{self.root} has the folders {' and '.join(alike[0])}, which seem to be splits; rename them to train, "
                "val and test, so that each holds the folders of the classes."
            )

    def classes(self, split: Path) -> dict[str, list[str]]:
        """For each class folder the image files below it, relative to the root."""
        self._pass_over_loose(split)
        prefix = len(str(self.root / "x")) - 1
        classes: dict[str, list[str]] = {}
        for folder in self._list(split)[0]:
            name = composed(folder.name)
            images = list(images_below(folder, self._pass_over, self.root))
            classes.setdefault(name, []).extend(str(path)[prefix:] for path in images)
            places = {path.parent for path in images}
            self.inside.setdefault(name, set()).update(place.relative_to(folder).parts for place in places)
        return classes

    def _is_filled(self, folder: Path) -> bool:
        return bool(self.images_in(folder) or self._list(folder, told_later=True)[0])

    def images_in(self, folder: Path) -> int:
        """The number of image files that lie in a folder itself."""
        return sum(map(is_image, self._list(folder, told_later=True)[1]))

    def _list(self, folder: Path, *, told_later: bool = False) -> tuple[list[Path], list[Path], list[Path]]:
        try:
            return entries(folder)
        except OSError as error:
            if told_later:
                return [], [], []
            raise _unreadable(folder, error) from error

    def _pass_over_loose(self, folder: Path) -> None:
        """What lies beside the folders that count."""
        _, files, hidden = self._list(folder)
        for path in hidden:
            self._pass_over(path, HIDDEN)
        for path in files:
            self._pass_over(path, "in no class folder")

    def _pass_over(self, path: Path, why: str) -> None:
        self.remarks.append(Remark(_relative(os.path.relpath(path, self.root)), why, PASSED_OVER))


def _unreadable(folder: Path, error: OSError) -> UserError:
    return UserError(f"The folder {folder} cannot be read ({error.strerror or error}); fix its permissions.")


def _without_split(name: str) -> str:
    """The name of a folder without digits and the word for a split: the same of seg_train1 and seg_test."""
    return re.sub(r"\d", "", _SPLIT.sub("*", name.lower()))


def _are_of_one_kind(folders: Sequence[Path]) -> bool:
    """Whether several folders with words for splits in their names have the same word, and classes in the rest."""
    words = {word[0][:2].lower() for folder in folders for word in _SPLIT.finditer(folder.name)}
    rests = {re.sub(r"[\W_]", "", _without_split(folder.name)) for folder in folders}
    are_classes = not any(rest in _NO_CLASSES or len(rest) == 1 for rest in rests)  # train_x and train_y are not
    return len(words) == 1 < len(folders) == len(rests) and are_classes


def _files(root: Path, classes: dict[str, list[str]], class_names: Sequence[str]) -> FileSource:
    """The files in turns, one of each class: the first N of them are then some of every class."""
    paths = [path for name in class_names for path in classes.get(name, [])]
    counts = [len(classes.get(name, [])) for name in class_names]
    labels = np.repeat(np.arange(len(class_names)), counts)
    turns = np.concatenate([np.arange(count) for count in counts])
    return FileSource(root, tuple(paths), labels.astype(np.int32)).chosen(np.lexsort((labels, turns)))


def _relative(path: str) -> str:
    """A path below the root as text that can be printed and written."""
    return shown(path).replace(os.sep, "/")
