"""What every command owes the shell: an exit status, a sentence for a mistake, and output that fits into pipes."""

import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxtl.errors import UserError
from jaxtl.runtime.files import write_whole
from jaxtl.runtime.interrupts import Interrupted

_USER_ERROR = 2
_AFTER_SIGNAL = 128  # a shell's status of a process that a signal ended is this plus the signal's number


def exit_status(work: Callable[[], int], *, resumes: bool = False) -> int:
    """Do the work of a command.

    Args:
      work: gives the exit status; it may raise what is listed below.
      resumes: whether the same command goes on where it was stopped.

    Returns:
      The status that ``work`` gave; 2 after a ``UserError``, whose sentence goes to stderr; 128 + N after signal N;
      141 where the reader of stdout has gone, as after ``| head``.
    """
    # What libraries say of their own threads stays off the screen: what matters of it arrives as an exception too.
    for name in ("absl", "orbax", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if resumes:
        sys.unraisablehook = lambda error: None
        threading.excepthook = lambda error: None
    try:
        status = work()
        sys.stdout.flush()  # here, where a broken pipe is still caught
    except (Interrupted, UserError, KeyboardInterrupt, BrokenPipeError) as error:
        if isinstance(error, BrokenPipeError):
            # Python flushes stdout once more when it ends, and would complain of the same pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status, text = outcome_of(error, resumes=resumes)
        tell(text)
    return status


def outcome_of(error: BaseException, *, resumes: bool = False) -> tuple[int, str]:
    """The exit status after an error, and what to print: a sentence, nothing, or a traceback where it is a bug."""
    match error:
        case Interrupted():
            return _AFTER_SIGNAL + (error.stop.signal or 0), str(error)
        case UserError():
            return _USER_ERROR, f"jaxtl: {error}"
        case KeyboardInterrupt():
            goes_on = " at once; the same command goes on from the last checkpoint" if resumes else ""
            return _AFTER_SIGNAL + signal.SIGINT, f"Stopped{goes_on}."
        case BrokenPipeError():
            return _AFTER_SIGNAL + 13, ""  # SIGPIPE, which Windows does not have
        case SystemExit():  # argparse has printed its message
            return error.code if isinstance(error.code, int) else int(bool(error.code)), ""
    return 1, "".join(traceback.format_exception(error)).rstrip()


def put(text: str) -> None:
    """Write to stdout; what its encoding lacks is escaped, not refused.

    Raises:
      BrokenPipeError: nobody reads it any more.
    """
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def tell(line: str) -> None:
    """Write a line to stderr, where it does not mix with results; nothing for ""."""
    if line:
        print(line.encode(errors="backslashreplace").decode(), file=sys.stderr, flush=True)


def write_result(path: Path, text: str) -> None:
    """Write a result to the file that a person named, whole or not at all.

    Raises:
      UserError: it cannot be written.
    """
    with write_errors_explained(path):
        content = text.encode("utf-8", "backslashreplace")
        if path.exists() and not path.is_file():  # a device or a named pipe must not be replaced by a file
            path.write_bytes(content)
        else:
            write_whole(path, content)


@contextlib.contextmanager
def write_errors_explained(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` into a sentence that names the file."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); choose another file.") from error


def at_least_one(text: str) -> int:
    """A number of 1 or more, for argparse."""
    if (value := int(text)) < 1:
        raise ValueError
    return value


at_least_one.__name__ = "number of 1 or more"  # argparse says "invalid … value"
