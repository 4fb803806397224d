"""What every command owes the shell: an exit status, a sentence for a user error, and output that fits into pipes."""

import argparse
import contextlib
import itertools
import logging
import os
import re
import reprlib
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from jaxtl.errors import UserError, closest
from jaxtl.runtime.files import os_error_told, user_path, write_errors_explained, write_whole
from jaxtl.runtime.interrupts import Interrupted, keep_interrupts, raise_on_interrupt, was_interrupted
from jaxtl.runtime.lowerings import use_fast_lowerings

_USER_ERROR = 2
_AFTER_SIGNAL = 128  # a shell's status of a process that a signal ended is this plus the signal's number
_NO_READER = _AFTER_SIGNAL + 13  # SIGPIPE, which Windows does not have
_NO_DEVICE, _NO_MEMORY = "Unable to initialize backend", "RESOURCE_EXHAUSTED"


def exit_status(work: Callable[[], int], *, resumes: bool = False) -> int:
    """Do the work of a command, with fast lowerings.

    Args:
      work: gives the exit status; it may raise what is listed below.
      resumes: whether the same command goes on where it was stopped.

    Returns:
      The status that ``work`` gave; 2 after a ``UserError``, whose sentence goes to stderr; 128 + N after signal N;
      141 where the reader of stdout has gone, as after ``| head``.
    """
    use_fast_lowerings()
    # What libraries say of their own threads stays off the screen: what matters of it arrives as an exception too.
    for name in ("absl", "orbax", "asyncio", "jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.showwarning = lambda message, *_: tell(f"Warning: {message}")
    os.environ["MPLBACKEND"] = "agg"  # figures go to files; a notebook's backend may not be installed here
    if resumes:
        threading.excepthook = lambda error: None
    keep_interrupts(quiet=resumes)
    with _safe_streams() as stdout:
        try:
            try:
                raise_on_interrupt()
                status = work()
            finally:
                stdout.flush()  # here, where its errors are still caught
            if stdout.reader_gone:
                raise BrokenPipeError
        except BaseException as error:
            # argparse and rich make something else of a pipe that nobody reads
            known = _known(BrokenPipeError() if stdout.reader_gone else error, resumes)
            if known is None:
                raise
            status, text = known
            tell(text)
            try:
                stdout.flush()
            except (OSError, UserError):  # Python flushes once more when it ends, and would complain
                os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
    return status


def command(work: Callable[[Sequence[str]], int | None], *, resumes: bool = False) -> Callable[..., int]:
    """The ``main`` of a command, see ``exit_status``: its work takes the arguments, by default the process's.

    The work gives the exit status, or ``None`` for 0.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        return exit_status(lambda: work(sys.argv[1:] if argv is None else argv) or 0, resumes=resumes)

    return main


def outcome_of(error: BaseException, *, resumes: bool = False) -> tuple[int, str]:
    """The exit status after an error, and what to print: a sentence, nothing, or a traceback where it is a bug."""
    if known := _known(error, resumes):
        return known
    if isinstance(error, SystemExit):  # argparse has printed its message
        return error.code if isinstance(error.code, int) else int(bool(error.code)), ""
    return 1, "".join(traceback.format_exception(error)).rstrip()


def _known(error: BaseException, resumes: bool) -> tuple[int, str] | None:
    match error:
        case BrokenPipeError():
            return _NO_READER, ""
        case Interrupted():
            return _AFTER_SIGNAL + (error.stop.signal or 0), str(error)
        case _ if was_interrupted(error):
            goes_on = " at once; the same command goes on from the last checkpoint" if resumes else ""
            return _AFTER_SIGNAL + signal.SIGINT, f"Stopped{goes_on}."
        case UserError():
            return _USER_ERROR, f"jaxtl: {error}"
        case RuntimeError() if _NO_DEVICE in str(error):
            reason = str(error).splitlines()[0].partition("(")[0].strip().rstrip(".")
            chosen = os.environ.get("JAX_PLATFORMS", "")
            return _USER_ERROR, (
                f"jaxtl: JAX finds no device to compute on ({reason}); JAX_PLATFORMS is {chosen!r}: unset it, or set "
                "it to cpu, cuda or tpu."
            )
        case RuntimeError() | MemoryError() if isinstance(error, MemoryError) or _NO_MEMORY in str(error):
            reason = str(error).partition("\n")[0].removeprefix(f"{_NO_MEMORY}: ").rstrip(". ") or "it is full"
            way_out = "lower batch_size (--batch), the size of the images or the network, or end other processes"
            return _USER_ERROR, f"jaxtl: The memory does not suffice ({reason}); {way_out}."
        case OSError():  # of a file that nothing else looked after
            return _USER_ERROR, f"jaxtl: {os_error_told(error)}"
    return None


def tell(line: str) -> None:
    """Write a line to stderr, where it does not mix with results; nothing for ""."""
    if line:
        print(line.encode(errors="backslashreplace").decode(), file=sys.stderr, flush=True)


def escape_unencodable() -> None:
    """Let stdout and stderr escape characters that their encoding lacks, where they would raise."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _safe_streams() -> Iterator["_Stdout"]:
    """Standard streams that are there, write every character, and name themselves where they fail."""
    escape_unencodable()
    before = sys.stdout, sys.stderr
    with Path(os.devnull).open("w") as nowhere:  # of a stream that is closed
        sys.stdout, sys.stderr = stdout, _ = _Stdout(before[0] or nowhere), before[1] or nowhere
        try:
            yield stdout
        finally:
            sys.stdout, sys.stderr = before


class _Stdout:
    """Standard output; an error of it names it, whatever file is being written at that time.

    Attributes:
      reader_gone: whether something was written to a pipe that nobody reads.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.reader_gone = stream, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._try(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], Any]) -> Any:
        try:
            with write_errors_explained("Standard output"):
                return act()
        except BrokenPipeError:
            self.reader_gone = True
            raise


def write_result(path: Path, text: str) -> None:
    """Write a result to the file that a user named, whole or not at all.

    Raises:
      UserError: it cannot be written.
    """
    with write_errors_explained(path):
        if path.exists() and not path.is_file():  # a device or a named pipe must not be replaced by a file
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        else:
            write_whole(path, text)


class CommandParser(argparse.ArgumentParser):
    """The flags of a command. They cannot be abbreviated, and a mistake is one sentence."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with a command line.

        Raises:
          UserError: in any case.
        """
        if message.startswith("the following arguments are required"):
            self.print_usage(sys.stderr)
        if unknown := re.match(r"unrecognized arguments: (-*)([^\s=]*)", message):
            near = closest(unknown[2], re.findall(r"--([a-z-]+)", self.format_help()))
            hint = f"did you mean --{near}?" if near else f"{self.prog} --help lists them."
            raise UserError(f"There is no argument {unknown[1]}{unknown[2]}; {hint}")
        message = re.sub(r"invalid int value: (.*)", r"\1 is not a whole number", message)
        message = re.sub(r"invalid float value: (.*)", r"\1 is not a number", message)
        if choice := re.fullmatch(r"(.*: )invalid choice: (.*) \(choose from (.*)\)", message, re.DOTALL):
            message = f"{choice[1]}{choice[2]} is not one of " + choice[3].replace("'", "")
        raise UserError(f"{message[:1].upper()}{message[1:].rstrip('.')}; {self.prog} --help tells more.")


def whole_number(least: int) -> Callable[[str], int]:
    """A type for argparse: whole numbers from ``least`` on."""

    def read(text: str) -> int:
        if not (text.isdecimal() and len(text) < 19 and int(text) >= least):
            raise argparse.ArgumentTypeError(f"{reprlib.repr(text)} is not a whole number of {least} or more")
        return int(text)

    return read


at_least_one = whole_number(1)


def seeds(text: str) -> tuple[int, ...]:
    """A type for argparse: distinct seeds, up to a thousand.

    >>> seeds("0..2"), seeds("3,7"), seeds("0..1,9")
    ((0, 1, 2), (3, 7), (0, 1, 9))
    """
    parts = [re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", part.strip()) for part in text.split(",")]
    ranges = [range(int(part[1]), int(part[2] or part[1]) + 1) for part in parts if part]
    if not all(parts) or not all(ranges) or sum(map(len, ranges)) > 1000:
        raise argparse.ArgumentTypeError(f"{text!r} names no seeds; write 0..4 or 0,3,7")
    return tuple(dict.fromkeys(itertools.chain(*ranges)))


def share(text: str) -> float:
    """A type for argparse: a share in [0, 1), as "2%" or "0.02"."""
    with contextlib.suppress(ValueError):
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        if 0 <= value < 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a share below 1, such as 2% or 0.02")


def path(text: str) -> Path:
    """A type for argparse: a path, see ``user_path``."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return user_path(text)
