"""Data sets in the files in which their makers published them, as a folder or as the official archive.

Archives are read in memory, member by member: nothing is ever unpacked onto the disk.
"""

import dataclasses
import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxtl.data.dataset import Dataset
from jaxtl.errors import UserError
from jaxtl.runtime.fetch import fetch

LARGEST_FILE_BYTES = 250_000_000  # the largest official file has 221 MB


@dataclasses.dataclass(frozen=True)
class Edition:
    """One form in which a data set is published.

    Attributes:
      folder: the folder of the files.
      archive: the compressed archive of that folder.
      files: for each split its files, in the order of their images.
      decode: turns the files of a split, whose hashes are right, into uint8 images [N, H, W, C] and int32 labels [N].
    """

    folder: str
    archive: str
    files: Mapping[str, tuple[str, ...]]
    decode: Callable[[Sequence[bytes]], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Published:
    """A data set in official files.

    Attributes:
      name: what a person calls it.
      home_page: where the files come from.
      archive_url: the address of the archive of the first edition, the one to download.
      image_shape: (H, W, C) of every image.
      sizes: for each split the number of images.
      class_names: K names.
      editions: its forms.
      md5: hashes by name: of files, compared before these are decoded, and of the archive to download, compared after
        that.
    """

    name: str
    home_page: str
    archive_url: str
    image_shape: tuple[int, int, int]
    sizes: Mapping[str, int]
    class_names: tuple[str, ...]
    editions: tuple[Edition, ...]
    md5: Mapping[str, str]


def load_official(published: Published, split: str, data_dir: Path, *, download: bool) -> Dataset:
    """Find the set, or download it, and read one split; the files of the other split are left alone.

    Args:
      published: the set.
      split: ``"train"`` or ``"test"``.
      data_dir: the folder of the official files, or the folder that holds that folder or the archive.
      download: whether to fetch the archive when nothing is found.

    Returns:
      uint8 images ``[N, H, W, C]`` and int32 labels ``[N]`` in the order of the official files.

    Raises:
      UserError: nothing is found, the download fails, or a file is missing, truncated or altered.
    """
    edition, place = find(published, data_dir) or _fetch(published, data_dir, download)
    read = _in_archive if place.is_file() else _in_folder
    contents = {}
    for name, source, raw in read(published, place, edition, split):
        found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
        if found != published.md5[name]:
            raise _damaged(published, source, f"its MD5 is {found} instead of {published.md5[name]}")
        contents[name] = raw
    images, labels = edition.decode([contents[name] for name in edition.files[split]])
    return Dataset(images, labels, published.class_names)


def find(published: Published, data_dir: Path) -> tuple[Edition, Path] | None:
    """Look for a folder of official files, then for an archive: the edition and its place, or ``None``."""
    for edition in published.editions:
        names = [name for of_split in edition.files.values() for name in of_split]
        for folder in (data_dir / edition.folder, data_dir):
            if any((folder / name).is_file() for name in names):
                return edition, folder
    for edition in published.editions:
        if (data_dir / edition.archive).is_file():
            return edition, data_dir / edition.archive
    return None


def _fetch(published: Published, data_dir: Path, download: bool) -> tuple[Edition, Path]:
    if not download:
        accepted = " or ".join(each for edition in published.editions for each in (edition.folder, edition.archive))
        raise UserError(
            f"{published.name} is not in {data_dir}; put {accepted} there, for example from {published.archive_url}, "
            "or allow downloads."
        )
    edition = published.editions[0]
    return edition, fetch(published.archive_url, data_dir / edition.archive, md5=published.md5[edition.archive])


# The name of a file, its place for error messages, and its content.
_Files = Iterator[tuple[str, str, bytes]]


def _in_folder(published: Published, folder: Path, edition: Edition, split: str) -> _Files:
    for path in (folder / name for name in edition.files[split]):
        try:
            yield path.name, str(path), path.read_bytes()
        except OSError as error:
            raise UserError(
                f"{path} cannot be read ({error.strerror}); complete the folder from {published.home_page}."
            ) from error


def _in_archive(published: Published, archive: Path, edition: Edition, split: str) -> _Files:
    missing = {f"{edition.folder}/{name}": name for name in edition.files[split]}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                # Links are refused with everything else that is not a plain file, and a small archive may claim
                # terabytes.
                if member.name not in missing or not member.isfile() or member.size > LARGEST_FILE_BYTES:
                    continue
                content = tar.extractfile(member)
                assert content is not None  # a plain file has a content
                yield missing.pop(member.name), f"{archive}:{member.name}", content.read()
                if not missing:
                    return
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise _damaged(published, str(archive), str(error) or type(error).__name__) from error
    raise _damaged(published, str(archive), f"it lacks {', '.join(missing)}")


def _damaged(published: Published, source: str, reason: str) -> UserError:
    return UserError(
        f"{source} is truncated or altered: {reason}; delete it and get the official file again from "
        f"{published.home_page}."
    )
