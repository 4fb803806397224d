"""The image files that a person means by files, folders and lists."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxtl.data.decode import SUFFIXES, shown
from jaxtl.runtime.files import user_path

LIST = "-"


class Unread(NamedTuple):
    """A file or folder that gives no image.

    Attributes:
      path: where it is, as text that can be printed, see ``shown``.
      reason: in a few words.
    """

    path: str
    reason: str


def image_files(named: Sequence[str], listed: Iterable[bytes] = ()) -> tuple[list[Path], list[Unread]]:
    """Expand files, folders and lists, in the order in which they are named.

    Args:
      named: a path is taken as it is, whatever its suffix and whether or not it exists: reading it will tell. A folder
        stands for the files below it whose suffix is one of ``jaxtl.data.decode.SUFFIXES``, sorted by path; hidden
        ones are left out. ``-`` stands for ``listed``.
      listed: lines of a list, a path each; empty lines are passed over.

    Returns:
      The files, and the folders that hold no image or cannot be read.
    """
    paths = []
    for name in named:
        paths += [os.fsdecode(line.rstrip(b"\r\n")) for line in listed] if name == LIST else [name]
    files: list[Path] = []
    faults: list[Unread] = []
    for path in (user_path(path) for path in paths if path):
        if not path.is_dir():
            files.append(path)
            continue
        below = _below(path, faults)
        files += below
        if not below:
            faults.append(Unread(shown(path), "no image lies in this folder"))
    return files, faults


def _below(folder: Path, faults: list[Unread]) -> list[Path]:
    def failed(error: OSError) -> None:
        faults.append(Unread(shown(error.filename or folder), f"it cannot be read ({error.strerror or error})"))

    found = []
    for root, folders, names in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(root, name) for name in names if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(found)
