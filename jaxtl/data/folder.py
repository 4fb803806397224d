"""A folder of one's own images: ``root/class/*`` or ``root/{train,val,test}/class/*``, of any sizes and kinds.

Nothing is passed over silently: what is left out or looks wrong becomes a `Remark` of the data set.
"""

import functools
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxtl.data.dataset import Dataset, Remark
from jaxtl.data.decode import SUFFIXES, Fit, Undecodable, image_size, read_image
from jaxtl.data.decode_all import Progress, decode_all
from jaxtl.data.decoded_before import DecodedBefore
from jaxtl.data.reading import Reading
from jaxtl.data.split import stratified_split
from jaxtl.errors import UserError

NAME = "folder"

# What the folders of the splits are called; where there is a folder for validation and none for the test, that is it.
_SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}

_PASSED_OVER = "passed over"


class Files(NamedTuple):
    """The image files of one split, sorted by class and name.

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

    A folder without splits is split here, stratified by class.

    Raises:
      UserError: there is no such folder, it has fewer than two classes with images, or a split has no image.
    """
    if not root.is_dir():
        raise UserError(f"The folder of images {root} does not exist; correct data.dir.")
    remarks: list[Remark] = []
    found = {split: _classes(folder, root, remarks) for split, folder in _split_folders(root, remarks).items()}
    if "test" not in found and "val" in found:
        found["test"] = found.pop("val")
        remarks.append(Remark("val", "there is no folder for the test", "it is the test; validation is taken of train"))
    class_names = tuple(sorted({name for classes in found.values() for name, paths in classes.items() if paths}))
    for split, classes in found.items():
        empty = [name for name, paths in classes.items() if not paths]
        remarks += [Remark(name, f"the class folder holds no image ({split})", "left out") for name in empty]
    if len(class_names) < 2:
        loose = " (images lie in the folder itself)" if not class_names and _has_images(root) else ""
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
        content=lambda i: (folder.root / files.paths[i]).read_bytes(),
        decode=functools.partial(reader.decode, sized=bool(reading.size)),
        read=reader,
        decoded_before=lambda: DecodedBefore(folder.root, reader.description),
        shown=_shown,
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
        ids=np.array([_shown(files.paths[i]) for i in kept]),
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


def _split_folders(root: Path, remarks: list[Remark]) -> dict[str, Path]:
    """The folders of the splits; the root as ``train`` where it has none.

    A folder named train that holds images and no folders is a class: of vehicles, say.
    """
    named = {
        split: folder for split, names in _SPLITS.items() for folder in _folders(root) if folder.name.lower() in names
    }
    if "train" not in named or not _folders(named["train"]) or _has_images(named["train"]):
        return {"train": root}
    others = [folder for folder in _folders(root) if folder not in named.values()]
    remarks += [Remark(_shown(folder.name), "it is none of train, val and test", _PASSED_OVER) for folder in others]
    return named


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _has_images(folder: Path) -> bool:
    return any(entry.suffix.lower() in SUFFIXES and entry.is_file() for entry in folder.iterdir())


def _classes(split: Path, root: Path, remarks: list[Remark]) -> dict[str, list[str]]:
    """For each class folder the files below it, relative to the root."""
    try:
        loose = sorted(entry.name for entry in split.iterdir() if not entry.is_dir())
        folders = _folders(split)
    except OSError as error:
        raise UserError(f"The folder {split} cannot be read ({error.strerror}); mend its permissions.") from error
    for name in loose:
        remarks.append(Remark(_shown(os.path.relpath(split / name, root)), "it lies in no class folder", _PASSED_OVER))
    for entry in sorted(split.iterdir()):
        if entry.is_dir() and entry not in folders:
            remarks.append(Remark(_shown(os.path.relpath(entry, root)), "a hidden folder is no class", _PASSED_OVER))
    classes: dict[str, list[str]] = {}
    for folder in folders:
        name = unicodedata.normalize("NFC", _shown(folder.name))
        classes.setdefault(name, []).extend(sorted(_walk(folder, root, remarks, {root.resolve()})))
    return classes


def _walk(folder: Path, root: Path, remarks: list[Remark], above: set[Path]) -> Iterator[str]:
    """The image files below a folder, links to folders followed unless they lead back."""
    place, real = _shown(os.path.relpath(folder, root)), folder.resolve()
    if folder.is_symlink() and (real in above or root.resolve() in real.parents):
        remarks.append(Remark(place, "the link leads back into the folder of images", _PASSED_OVER))
        return
    if real in above:
        remarks.append(Remark(place, "the link leads round in a circle", _PASSED_OVER))
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        remarks.append(Remark(place, f"the folder cannot be read ({error.strerror})", _PASSED_OVER))
        return
    for entry in entries:
        relative = os.path.relpath(entry.path, root)
        if _is_folder(entry):
            yield from _walk(Path(entry.path), root, remarks, above | {real})
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 - a hundred thousand times
            yield relative
        else:
            remarks.append(Remark(_shown(relative), "its suffix is none of an image", _PASSED_OVER))


def _files(classes: dict[str, list[str]], class_names: Sequence[str]) -> Files:
    paths = [path for name in class_names for path in classes.get(name, [])]
    counts = [len(classes.get(name, [])) for name in class_names]
    return Files(tuple(paths), np.repeat(np.arange(len(class_names)), counts).astype(np.int32))


def _choose(files: Files, indices: np.ndarray) -> Files:
    return Files(tuple(files.paths[i] for i in indices), files.labels[indices])


def _shown(path: str) -> str:
    """A path as text that can be printed and written, whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/")
