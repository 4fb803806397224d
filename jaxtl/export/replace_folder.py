"""Write a folder whole or not at all, over an earlier one of the same kind only."""

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from jaxtl.errors import UserError
from jaxtl.runtime.files import write_errors_explained


@contextlib.contextmanager
def replaced(folder: Path, mark: str, names: Collection[str], what: str) -> Iterator[Path]:
    """A context that yields an empty folder and puts it in place of ``folder`` at its end, unless an error occurs.

    Args:
      folder: the place; folders above it are made. What stands there is removed.
      mark: a file that every folder of this kind has.
      names: all names that one may have.
      what: the kind, for the message: "an export".

    Raises:
      UserError: something else stands there, an empty folder excepted, or it cannot be written.
    """
    folder = folder.resolve()  # a link stays, and what it leads to is replaced
    try:
        there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise UserError(f"{folder} is not a folder that {what} could replace ({error.strerror or error}).") from error
    strange = [name for name in there if name not in names]
    if strange or (there and mark not in there):
        raise UserError(
            f"{folder} holds {', '.join((strange or there)[:5])}, which is not part of {what} and would be lost; move "
            "it away, or choose another folder."
        )
    with write_errors_explained(folder, "make the folder above it writable, or choose another place"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            draft, before = Path(scratch, "draft"), Path(scratch, "before")
            draft.mkdir()
            yield draft
            if folder.exists():
                folder.rename(before)
            try:
                draft.rename(folder)
            except BaseException:
                if before.exists():
                    before.rename(folder)
                raise
