"""Which image files there are below a folder, and which a person means by files, folders and lists."""

import io
import itertools
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from jaxtl.data.decode import FORMATS, SUFFIXES
from jaxtl.errors import UserError
from jaxtl.runtime.files import user_path

LIST = "-"

# Why a walk passes something over, where that is what a person expects of it.
HIDDEN, OTHER_SUFFIX = "hidden", "not the suffix of an image"


class Unread(NamedTuple):
    """A file or folder that gives no image: its path as text that can be printed, and the reason in a few words."""

    path: str
    reason: str


def shown(path: str | os.PathLike[str]) -> str:
    """A path as text that can be printed and written, whatever bytes its name has."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def is_image(name: str | os.PathLike[str]) -> bool:
    """Whether the suffix is that of an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - of a hundred thousand names


def _is_image_content(content: bytes) -> bool:
    """Whether bytes begin as an image does; no pixel is decoded."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # Pillow promises no narrower type
        return False


def entries(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """What lies in a folder: (folders, files and everything else, hidden ones), each sorted by name.

    Raises:
      OSError: it cannot be read.
    """
    folders: list[Path] = []
    files: list[Path] = []
    hidden: list[Path] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        kind = hidden if entry.name.startswith(".") else folders if _is_folder(entry) else files
        kind.append(folder / entry.name)
    return folders, files, hidden


def images_below(folder: Path, pass_over: Callable[[Path, str], None], root: Path | None = None) -> Iterator[Path]:
    """The image files in a folder and below it, files before folders, each sorted by name.

    Links to folders are followed unless they lead back, into the folder or the ``root`` above it; no folder is read
    twice. ``pass_over`` is called with (path, why) for everything that is left out.
    """
    start = root or folder
    top = start.resolve()
    waiting = [(folder, folder.resolve())]  # a stack, because folders may be nested deeply
    seen: set[Path] = set()
    while waiting:
        here, real = waiting.pop()
        is_link = here != start and here.is_symlink()
        if is_link and (top in (real, *real.parents) or real in top.parents):
            pass_over(here, "the link leads back into the folder of images")
            continue
        if real in seen:
            pass_over(here, "the same folder was read before")
            continue
        seen.add(real)
        try:
            folders, files, hidden = entries(here)
        except OSError as error:
            pass_over(here, f"the folder cannot be read ({error.strerror or error})")
            continue
        for path in hidden:
            pass_over(path, HIDDEN)
        for path in files:
            if is_image(path):
                yield path
            else:
                pass_over(path, OTHER_SUFFIX)
        for below in reversed(folders):
            waiting.append((below, below.resolve() if below.is_symlink() else real / below.name))


def image_files(named: Sequence[str], listed: bytes = b"") -> tuple[list[Path], list[Unread]]:
    """Expand files, folders and lists, in the order in which they are named.

    Args:
      named: a file is taken whatever its suffix, and whether or not it exists: reading it will show. A folder
        stands for the image files below it. ``-`` stands for ``listed``.
      listed: a list of paths, see ``paths_in``.

    Returns:
      The files; and what is not a path, and the folders that hold no image or cannot be read.

    Raises:
      UserError: ``listed`` is itself an image.
    """
    if LIST in named and _is_image_content(listed):
        raise UserError("Standard input holds an image, but - stands for a list of paths; name the file of the image.")
    files: list[Path] = []
    faults: list[Unread] = []
    paths: list[Path] = []
    texts = itertools.chain.from_iterable(paths_in(listed) if name == LIST else [name] for name in named)
    for text in filter(None, texts):
        try:
            paths.append(user_path(text))
        except UserError as error:
            faults.append(Unread(shown(text[:100]), str(error)))

    def pass_over(path: Path, why: str) -> None:
        if why not in (HIDDEN, OTHER_SUFFIX):
            faults.append(Unread(shown(path), why))

    for path in paths:
        if not _is_folder(path):
            files.append(path)
            continue
        told = len(faults)
        below = list(images_below(path, pass_over))
        files += below
        if not below and len(faults) == told:
            faults.append(Unread(shown(path), "no image lies in this folder"))
    return files, faults


def paths_in(listed: bytes) -> list[str]:
    """The paths in a list: one a line, or separated by zero bytes, as ``find -print0`` writes them.

    The list has the encoding of file names, or UTF-16, as PowerShell writes it. Empty lines are passed over.
    """
    marks = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
    even, odd = (listed[start::2].count(0) > len(listed) // 4 + 1 for start in (0, 1))
    encoding = marks.get(listed[:2], "")
    if not encoding and even != odd:  # a list without a mark; no names of one letter each are between so many zeros
        encoding = "utf-16-be" if even else "utf-16-le"
    if encoding:
        listed = os.fsencode(listed.decode(encoding, "replace").removeprefix("\ufeff"))
    listed = listed.removeprefix(b"\xef\xbb\xbf")  # the mark of UTF-8
    lines = listed.split(b"\0") if b"\0" in listed else listed.splitlines()
    return [os.fsdecode(line) for line in lines if line]


def _is_folder(path: Path | os.DirEntry[str]) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a link that leads to itself, a name with a zero byte
        return False


def composed(name: str) -> str:
    """A name in Unicode's composed form, in which the same name from two systems is one."""
    return unicodedata.normalize("NFC", shown(name))
