"""The files in which the makers of a data set published it, as a folder or as the official archive.

Archives are read in memory, member by member: nothing is ever unpacked onto the disk.
"""

import dataclasses
import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from jaxtl.errors import UserError
from jaxtl.runtime.fetch import fetch, file_hash

LARGEST_FILE_BYTES = 250_000_000  # the largest official file has 221 MB


@dataclasses.dataclass(frozen=True)
class OfficialFiles:
    """One form in which a data set is published.

    Attributes:
      folder: the folder of the files.
      archive: the compressed archive of that folder.
      files: for each split its files, in the order of their images.
    """

    folder: str
    archive: str
    files: Mapping[str, tuple[str, ...]]


Form = TypeVar("Form", bound=OfficialFiles)


def find_or_fetch(
    name: str,
    forms: Sequence[Form],
    data_dir: Path,
    *,
    archive_url: str,
    download: bool,
    archive_md5: str | None,
) -> tuple[Form, Path]:
    """Find a data set in or under ``data_dir``, or download it to there.

    Args:
      name: what a person calls the data set.
      forms: its forms; the first is the one to download.
      data_dir: the folder of its files, or the folder that holds that folder or the archive.
      archive_url: the address of the archive of the first form.
      download: whether to fetch the archive when nothing is found.
      archive_md5: the hash of that archive.

    Returns:
      The form and its place, a folder or an archive.

    Raises:
      UserError: nothing is found, or the download fails.
    """
    found = find(forms, data_dir)
    if found is not None:
        return found
    if not download:
        accepted = " or ".join(each for form in forms for each in (form.folder, form.archive))
        raise UserError(
            f"{name} is not in {data_dir}: put {accepted} there, for example from {archive_url}, or allow downloads"
        )
    return forms[0], fetch(archive_url, data_dir / forms[0].archive, md5=archive_md5)


def find(forms: Sequence[Form], data_dir: Path) -> tuple[Form, Path] | None:
    """Look for a folder of official files, then for an archive: the form and its place, or ``None``."""
    for form in forms:
        names = [name for of_split in form.files.values() for name in of_split]
        for folder in (data_dir / form.folder, data_dir):
            if any((folder / name).is_file() for name in names):
                return form, folder
    for form in forms:
        if (data_dir / form.archive).is_file():
            return form, data_dir / form.archive
    return None


def read_files(
    form: OfficialFiles, split: str, place: Path, *, home_page: str, md5: Mapping[str, str] | None
) -> Iterator[tuple[str, str, bytes]]:
    """Read the files of one split; those of the other split are left alone.

    Args:
      form: the form that lies at ``place``.
      split: which split.
      place: a folder of official files or an archive.
      home_page: where the files come from, for error messages.
      md5: the hash of every file by its name, checked before its content is given out; where the archive's name is
        among them, the whole archive is checked first. ``None`` checks nothing.

    Yields:
      Name, place for error messages and content of each file, in the order of the archive where there is one.

    Raises:
      UserError: a file is missing or altered, or the archive is truncated.
    """
    if place.is_dir():
        files = _files_of_folder(place, form.files[split], home_page)
    else:
        if md5 is not None and form.archive in md5:
            _check_md5(str(place), file_hash(place, "md5"), md5[form.archive], home_page)
        files = _files_of_archive(place, form.folder, form.files[split], home_page)
    for name, source, raw in files:
        if md5 is not None:
            _check_md5(source, hashlib.md5(raw, usedforsecurity=False).hexdigest(), md5[name], home_page)
        yield name, source, raw


def damaged(source: str, reason: str, home_page: str) -> UserError:
    """The error for an official file that does not hold what it should."""
    return UserError(
        f"{source} is truncated or altered: {reason}; delete it and get the official file again from {home_page}"
    )


def _files_of_folder(folder: Path, names: Sequence[str], home_page: str) -> Iterator[tuple[str, str, bytes]]:
    for name in names:
        try:
            raw = (folder / name).read_bytes()
        except OSError as error:
            raise UserError(
                f"cannot read {folder / name} ({error.strerror}): complete the folder from {home_page}"
            ) from error
        yield name, str(folder / name), raw


def _files_of_archive(
    archive: Path, folder: str, names: Sequence[str], home_page: str
) -> Iterator[tuple[str, str, bytes]]:
    missing = {f"{folder}/{name}": name for name in names}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                # Links are refused with everything else that is no plain file, and a small archive may claim terabytes.
                if member.name not in missing or not member.isfile() or member.size > LARGEST_FILE_BYTES:
                    continue
                content = tar.extractfile(member)
                assert content is not None  # a plain file has a content
                yield missing.pop(member.name), f"{archive}:{member.name}", content.read()
                if not missing:
                    return
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise damaged(str(archive), str(error) or type(error).__name__, home_page) from error
    raise damaged(str(archive), f"it lacks {', '.join(missing)}", home_page)


def _check_md5(source: str, found: str, expected: str, home_page: str) -> None:
    if found != expected:
        raise damaged(source, f"its MD5 is {found} instead of {expected}", home_page)
