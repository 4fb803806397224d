"""A folder of one's own images: ``root/class/*`` or ``root/{train,val,test}/class/*``, of any sizes and kinds.

Nothing is passed over silently: what is left out or looks wrong becomes a `Remark` of the data set.
"""

import functools
import os
import time
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxtl.data.dataset import Dataset, Remark
from jaxtl.data.decode import SUFFIXES, Fit, Undecodable, image_size, read_content, read_image, shown
from jaxtl.data.decode_all import Progress, decode_all
from jaxtl.data.decoded_before import DecodedBefore
from jaxtl.data.reading import Reading
from jaxtl.data.split import stratified_split
from jaxtl.errors import UserError

NAME = "folder"

# What the folders of the splits are called; where there is a folder for validation and none for the test, that is it.
_SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


class Files(NamedTuple):
    """The image files of one split, sorted by name, the classes in turns.

    Attributes:
      paths: relative to the root.
      labels: int32, one a path.
    """

    paths: tuple[str, ...]
    labels: np.ndarray


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


def scan(root: Path, reading: Reading) -> ImageFolder:
    """Find classes, splits and files; nothing is opened.

    A folder without splits is split here, stratified by class. What was found is remembered as long as no folder below
    has changed: a start asks several times.

    Raises:
      UserError: there is no such folder, it cannot be read, it has fewer than two classes with images, a split has no
        image, or it cannot be told whether it has splits.
    """
    asked = (str(root.absolute()), reading.test, reading.split_seed)
    if asked in _SCANNED and all(_stamp(folder) == stamp for folder, stamp in _SCANNED[asked][1].items()):
        return _SCANNED[asked][0]
    walk = _Walk(root)
    found = _scan(walk, reading)
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


def _scan(walk: "_Walk", reading: Reading) -> ImageFolder:
    root = walk.root
    if not walk.exists():
        raise UserError(f"The folder of images {root} does not exist; correct data.dir.")
    found = {split: walk.classes(folder) for split, folder in walk.splits().items()}
    remarks = walk.remarks
    if "test" not in found and "val" in found:
        found["test"] = found.pop("val")
        remarks.append(Remark("val", "there is no folder for the test", "it is the test; validation is taken of train"))
    class_names = tuple(sorted({name for classes in found.values() for name, paths in classes.items() if paths}))
    for split, classes in found.items():
        empty = [name for name, paths in classes.items() if not paths]
        remarks += [Remark(name, f"the class folder holds no image ({split})", "left out") for name in empty]
    if len(class_names) < 2:
        loose = " (images lie in the folder itself)" if not class_names and walk.has_images(root) else ""
        raise UserError(
            f"{root} has {len(class_names)} folder(s) of images{loose}, but a classifier needs two classes or more: "
            "put the images of each class into a folder named after it."
        )
    splits = {split: _files(classes, class_names) for split, classes in found.items()}
    for name, count in zip(class_names, np.bincount(splits["train"].labels, minlength=len(class_names)), strict=True):
        if not count:
            raise UserError(f"The class {name!r} of {root} has no image to train on; add some, or remove the class.")
    if "test" not in splits:
        everything = splits["train"]
        rest, held = stratified_split(everything.labels, reading.test, reading.split_seed)
        if not held.size:
            raise UserError(
                f"data.test={reading.test} holds out none of the {len(everything.paths)} images of {root}; hold out "
                "more, or take a folder with a test folder of its own."
            )
        splits["train"], splits["test"] = (_choose(everything, indices) for indices in (rest, held))
    if not splits["test"].paths:
        raise UserError(f"The test folder of {root} holds no image; fill it, or remove it and one will be split off.")
    return ImageFolder(root, class_names, splits, tuple(remarks))


def image_shape(folder: ImageFolder, reading: Reading) -> tuple[int, int, int]:
    """(H, W, 3) of every image once it is read: ``reading.size``, or the size of the first file that can be opened."""
    if reading.size:
        return reading.size, reading.size, 3
    for path in folder.splits["train"].paths:
        try:
            return (*image_size(folder.root / path), 3)
        except Undecodable:
            continue
    raise UserError(f"None of the image files under {folder.root} can be opened; put images there.")


def load(folder: ImageFolder, split: str, reading: Reading, progress: Progress | None = None) -> Dataset:
    """Decode a split, into memory or, where that is too small, just to see that every file can be decoded.

    Returns:
      The images, ids their paths relative to the root; what was skipped among the remarks.

    Raises:
      UserError: too many files are undecodable, a class has no image left to train on, or no size is given and the
        images have different ones.
    """
    files, shape = folder.splits[split], image_shape(folder, reading)
    reader = FileReader(str(folder.root), files.paths, shape[:2], reading.fit)
    images, kept, skipped = decode_all(
        files.paths,
        shape,
        what=f"image files under {folder.root}",
        in_all=sum(len(each.paths) for each in folder.splits.values()),
        content=lambda i: read_content(folder.root / files.paths[i]),
        decode=functools.partial(reader.decode, sized=bool(reading.size)),
        read=reader,
        decoded_before=lambda: DecodedBefore(folder.root, reader.description),
        shown=_relative,
        reading=reading,
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
        ids=np.array([_relative(files.paths[i]) for i in kept]),
        remarks=(*(folder.remarks if split == "train" else ()), *skipped),
    )


class FileReader:
    """Reads the file at a position; small enough to hand to other processes."""

    def __init__(self, root: str, paths: Sequence[str], size: tuple[int, int], fit: Fit) -> None:
        self._root, self._paths, self._size, self._fit = root, paths, size, fit

    @property
    def description(self) -> str:
        """What decoding depends on beside the file."""
        return f"{self._size[0]}x{self._size[1]} {self._fit}"

    def __call__(self, position: int) -> np.ndarray:
        """The image, uint8 [H, W, 3].

        Raises:
          UserError: the file has changed since it was looked at.
        """
        try:
            return read_image(os.path.join(self._root, self._paths[position]), self._size, fit=self._fit)  # noqa: PTH118
        except Undecodable as error:
            raise UserError(
                f"{self._root}/{self._paths[position]} could be decoded when the run began, but no more: {error}; "
                "restore it and run the same command again."
            ) from error

    def decode(self, content: bytes, position: int, *, sized: bool) -> np.ndarray:
        """The image of a content.

        Raises:
          Undecodable: it is none.
          UserError: no size was asked for, and it has another than the first image.
        """
        image = read_image(content, self._size if sized else None, fit=self._fit)
        if image.shape[:2] != self._size:
            (height, width), (H, W) = image.shape[:2], self._size
            raise UserError(
                f"The images of {self._root} have different sizes ({self._paths[position]} has {width} x {height} "
                f"pixels, the first one {W} x {H}); set data.size to bring them to one."
            )
        return image


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

    def exists(self) -> bool:
        try:
            return self.root.is_dir()
        except OSError as error:
            raise _unreadable(self.root, error) from error

    def splits(self) -> dict[str, Path]:
        """The folders of the splits; the root as ``train`` where it has none.

        A folder named train that holds images is a class: of vehicles, say.
        """
        folders, others = self._list(self.root)
        named = {
            split: folder for split, names in _SPLITS.items() for folder in folders if folder.name.lower() in names
        }
        train = named.get("train")
        if train is None or not self._list(train)[0] or self.has_images(train):
            return {"train": self.root}
        besides = [folder for folder in folders if folder not in named.values()]
        if len(named) == 1 and any(self._list(folder)[0] or self.has_images(folder) for folder in besides):
            raise UserError(
                f"{train} may be a split or a class, because it holds folders, and beside it lies "
                f"{shown(besides[0].name)}; rename it, or move the images of each class together."
            )
        for place in besides:
            self._pass_over(place, "it is none of train, val and test")
        for place in others:
            self._pass_over(place, "it lies in no class folder")
        self._pass_hidden(self.root)
        return named

    def classes(self, split: Path) -> dict[str, list[str]]:
        """For each class folder the image files below it, relative to the root."""
        folders, others = self._list(split)
        for place in others:
            self._pass_over(place, "it lies in no class folder")
        self._pass_hidden(split)
        classes: dict[str, list[str]] = {}
        for folder in folders:
            name = unicodedata.normalize("NFC", shown(folder.name))
            classes.setdefault(name, []).extend(sorted(self._images(folder, {self.root.resolve()})))
        return classes

    def has_images(self, folder: Path) -> bool:
        return any(path.suffix.lower() in SUFFIXES for path in self._list(folder)[1])

    def _images(self, folder: Path, above: set[Path]) -> Iterator[str]:
        """The image files below a folder; links to folders are followed unless they lead back."""
        real = folder.resolve()
        if folder.is_symlink() and (real in above or self.root.resolve() in real.parents):
            self._pass_over(folder, "the link leads back into the folder of images")
            return
        if real in above:
            self._pass_over(folder, "the link leads round in a circle")
            return
        try:
            folders, files = self._list(folder)
        except UserError as error:
            self._pass_over(folder, str(error).partition(";")[0])
            return
        self._pass_hidden(folder)
        for file in files:
            if file.suffix.lower() in SUFFIXES:
                yield os.path.relpath(file, self.root)
            else:
                self._pass_over(file, "its suffix is none of an image")
        for below in folders:
            yield from self._images(below, above | {real})

    def _list(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The folders in a folder and everything else, hidden ones left out, sorted."""
        self.seen.add(str(folder))
        folders: list[Path] = []
        others: list[Path] = []
        for entry in _entries(folder):
            if not entry.name.startswith("."):
                (folders if _is_folder(entry) else others).append(folder / entry.name)
        return folders, others

    def _pass_hidden(self, folder: Path) -> None:
        for entry in _entries(folder):
            if entry.name.startswith("."):
                self._pass_over(folder / entry.name, "it is hidden")

    def _pass_over(self, path: Path, why: str) -> None:
        self.remarks.append(Remark(_relative(os.path.relpath(path, self.root)), why, "passed over"))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: OSError) -> UserError:
    return UserError(f"The folder {folder} cannot be read ({error.strerror or error}); mend its permissions.")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, say
        return False


def _files(classes: dict[str, list[str]], class_names: Sequence[str]) -> Files:
    """The files in turns, one of each class: the first N of them are then some of every class."""
    paths = [path for name in class_names for path in classes.get(name, [])]
    counts = [len(classes.get(name, [])) for name in class_names]
    labels = np.repeat(np.arange(len(class_names)), counts)
    turns = np.concatenate([np.arange(count) for count in counts])
    return _choose(Files(tuple(paths), labels.astype(np.int32)), np.lexsort((labels, turns)))


def _choose(files: Files, indices: np.ndarray) -> Files:
    return Files(tuple(files.paths[i] for i in indices), files.labels[indices])


def _relative(path: str) -> str:
    """A path below the root as text that can be printed and written."""
    return shown(path).replace(os.sep, "/")
