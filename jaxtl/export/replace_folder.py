"""A folder that appears whole or not at all, and takes the place of its predecessor alone."""

import contextlib
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from jaxtl.errors import UserError


def check_replaceable(folder: Path, mark: str, names: Collection[str], what: str) -> bool:
    """Whether a folder stands where a new one is to be, and may go.

    Args:
      folder: the place.
      mark: a file that every folder of this kind has.
      names: all names that one may have.
      what: the kind, for the message: "an export".

    Raises:
      UserError: if something else stands there, an empty folder excepted.
    """
    try:
        if not folder.exists():
            return False
        there = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} is no folder that {what} could replace ({error.strerror or error}).") from error
    strange = [name for name in there if name not in names]
    if strange or (there and mark not in there):
        raise UserError(
            f"{folder} holds {', '.join((strange or there)[:5])}, which is no part of {what} and would be lost; move "
            "it away, or choose another folder."
        )
    return bool(there)


@contextlib.contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill, and put it in place of ``folder`` afterwards; after an error all is as before.

    Args:
      folder: the place; folders above it are made. What stands there is removed: ask ``check_replaceable`` before.

    Raises:
      UserError: if it cannot be written.
    """
    folder = folder.resolve()  # a link stays, and what it leads to is replaced
    tag = secrets.token_hex(4)
    draft, before = (folder.with_name(f".{folder.name}.{tag}.{part}") for part in ("partial", "before"))
    try:
        draft.mkdir(parents=True)
        yield draft
        if folder.exists():
            folder.rename(before)
        try:
            draft.rename(folder)
        except BaseException:
            if before.exists():
                before.rename(folder)
            raise
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror or error}); make the folder above it writable, or choose "
            "another place."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(before, ignore_errors=True)
