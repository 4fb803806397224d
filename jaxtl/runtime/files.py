"""Files and folders: paths that users give, the cache folder, whole writes, careful reads, locks."""

import contextlib
import csv
import errno
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from jaxtl.errors import UserError, expect


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path that comes from outside: a flag, a config field, a variable, a list of files.

    ``~`` and ``~name`` at its start are home folders, if there is a user of that name; else part of the name.

    Raises:
      UserError: it is not a path, is empty, holds a NUL character or one that cannot be encoded, or is longer than the
        system allows; or it starts with ``~/`` and no home folder is known.
    """
    expect("The path", path, (str, bytes, os.PathLike), "a text or a pathlib.Path")
    text = os.fsdecode(path)
    if not text:
        raise UserError("The path is empty; name a file or a folder.")
    if "\0" in text:
        raise UserError(f"{text[:200]!r} is not a path, because it holds a NUL character; give one path a line.")
    found = Path(text)
    try:
        found = found.expanduser()
        found.lstat()
    except RuntimeError as error:
        if found.parts[0] == "~":
            raise UserError(f"No home folder is known for {text}; set HOME, or give the whole path.") from error
    except UnicodeEncodeError as error:
        cause = error.object[error.start]
        raise UserError(f"{text[:200]!r} is not a path, because names cannot hold {cause!r}; correct it.") from error
    except OSError as error:  # others are told by whoever opens it
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"{text[:40]}…{text[-20:]} is not a path, because it is too long; shorten it.") from error
    return found


def cache_dir() -> Path:
    """The folder of what can be fetched or made again.

    It is ``$JAXTL_CACHE``, else ``$XDG_CACHE_HOME/jaxtl``, else ``~/.cache/jaxtl``; an empty variable counts as unset.
    It is not created here.

    Raises:
      UserError: there is neither a variable nor a home folder.
    """
    if chosen := os.environ.get("JAXTL_CACHE"):
        return user_path(chosen)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return user_path(shared) / "jaxtl"
    try:
        return Path.home() / ".cache" / "jaxtl"
    except RuntimeError as error:
        raise UserError("No home folder is known for the cache; set HOME, or JAXTL_CACHE to a folder.") from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; folders above it are made.

    Text is written in UTF-8. What UTF-8 lacks, such as the bytes of a name in another encoding, is escaped.

    Raises:
      OSError: it cannot be written; a file that was there before is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with draft.open("xb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())  # the rename must not reach the disk before the bytes do
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as comma-separated values, a line each."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def json_text(content: Any) -> str:
    """A tree as JSON, indented."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def write_errors_explained(
    what: Path | str, way_out: str = "choose another file", *, done: str = "written", folder: Path | None = None
) -> Iterator[None]:
    """Turn an ``OSError`` into a sentence that says what cannot be done; a pipe that nobody reads is another matter.

    The sentence says that ``what`` cannot be ``done``, and ends with ``way_out``. With a ``folder``, an error of a file
    outside of it is told of that file.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if folder and error.filename and not Path(str(error.filename)).absolute().is_relative_to(folder.absolute()):
            raise UserError(os_error_told(error)) from error
        raise UserError(f"{what} cannot be {done} ({error.strerror or error}); {way_out}.") from error


def os_error_told(error: OSError) -> str:
    """A sentence on an error of the system that nothing nearer explained."""
    what = error.filename or "Something of the system"
    way_out = "free some space, or correct the path or its permissions, and run the same command again"
    return f"{what} cannot be used ({error.strerror or error}); {way_out}."


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
      OSError: it cannot be read.
      ValueError: it does not hold a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


# What reading a file of another content raises.
_DAMAGE = (OSError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, csv.Error)


@contextlib.contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file of a run is read into a sentence.

    Raises:
      UserError: for a missing key, a file that cannot be read, and values of the wrong kind.
    """
    try:
        yield
    except UserError:
        raise
    except _DAMAGE as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else getattr(error, "strerror", None) or error
        raise UserError(
            f"{path} cannot be used ({what}): it is damaged or of another version; restore it, run the experiment "
            "again in a new folder, or leave this run out."
        ) from error


@contextlib.contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock between processes, also of several machines, that ends with its process, however that ends.

    The file is there while the lock is held; folders above it are made. With ``wait``, another process that holds the
    lock is waited for.

    Raises:
      BlockingIOError: another process holds it, and ``wait`` is false.
      OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except filelock.Timeout as error:
        raise BlockingIOError(f"another process holds {path}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while the lock is held: a process that waits for it sees that and makes a new file
        lock.release()
