"""A fault: what is done, what jaxtl must do, which is written down before, and what it did."""

import contextlib
import dataclasses
import faulthandler
import re
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxtl.data.decode import Undecodable
from jaxtl.errors import UserError

MOST_S = 20.0  # that a fault may take within this process
MOST_BYTES = 2 << 30  # of memory, beyond what the process had
HUNG_S = 240  # after which the whole command gives up

OK = "ok"
# What a fault must never lead to, and what the rest is called.
TRACEBACK, SILENT, HUNG, LOST, OTHER = "traceback", "silent wrong answer", "hung", "lost", "another answer"


class Ended(NamedTuple):
    """A command that has ended.

    Attributes:
      status: its exit status; -N after signal N; ``None`` where it went on and on.
      out: what it wrote to stdout.
      err: what it wrote to stderr.
      figures: what it left in its work folder, if that is finished.
    """

    status: int | None
    out: str = ""
    err: str = ""
    figures: Any = None


class Refused(NamedTuple):
    """A sentence for the person in place of a result."""

    sentence: str


class Broken(NamedTuple):
    """An error that is a bug."""

    trace: str


@dataclasses.dataclass(frozen=True)
class Expected:
    """What jaxtl must do.

    Attributes:
      text: in words.
      holds: whether an outcome is that: a value, an `Ended` or a `Refused`.
    """

    text: str
    holds: Callable[[Any], bool]


class Case(NamedTuple):
    """One fault.

    Attributes:
      what: is done.
      act: does it in an empty folder, and returns what jaxtl returned.
      must: what jaxtl must do.
      quick: whether it takes a moment and needs no run that was trained before.
    """

    what: str
    act: Callable[[Path], Any]
    must: Expected
    quick: bool = True


class Row(NamedTuple):
    """A line of the table: what was done, what jaxtl had to do, what it did, and what to think of that."""

    what: str
    must: str
    did: str
    verdict: str


# --- what is expected ---


def refuses(fragment: str) -> Expected:
    """A sentence with these words in it."""
    text = f"refuse: “{fragment}”" if fragment else "refuse in a sentence"
    return Expected(text, lambda found: isinstance(found, Refused) and fragment in found.sentence)


def gives(value: Any, text: str, *, within: int = 0) -> Expected:
    """This value; arrays may differ by ``within``."""
    return Expected(text, lambda found: _same(found, value, within))


def refuses_or_gives(value: Any, text: str) -> Expected:
    """A sentence, or the value that a whole file has."""
    return Expected(text, lambda found: isinstance(found, Refused) or _same(found, value, 0))


def ends(status: int, fragment: str = "", *, figures: Any = None) -> Expected:
    """An exit status; words on stderr or stdout; and, if given, the figures of a run that nothing disturbed."""
    told = f", “{fragment}”" if fragment else ""
    same = ", the same figures" if figures is not None else ""

    def holds(found: Any) -> bool:
        said = " ".join(f"{found.err}\n{found.out}".split())
        return found.status == status and fragment in said and (figures is None or found.figures == figures)

    return Expected(f"exit {status}{told}{same}", holds)


def _same(found: Any, value: Any, within: int) -> bool:
    if not isinstance(value, np.ndarray):
        return bool(found == value)
    if not isinstance(found, np.ndarray) or found.shape != value.shape or found.dtype != value.dtype:
        return False
    return bool(np.abs(found.astype(int) - value).max() <= within) if within else bool(np.array_equal(found, value))


# --- what happens ---


def attempt(case: Case) -> Row:
    """Do it, in a folder of its own."""
    with tempfile.TemporaryDirectory() as place, _watched() as used:
        folder = Path(place).resolve()
        try:
            found = case.act(folder)
        except (UserError, Undecodable) as error:
            found = Refused(str(error))
        except Exception:
            found = Broken(traceback.format_exc())
    return Row(case.what, case.must.text, shown(found, folder), verdict(case, found, *used))


def verdict(case: Case, found: Any, seconds: float = 0.0, taken: int = 0) -> str:
    """What to think of an outcome.

    Args:
      case: what was to happen.
      found: what happened.
      seconds: that it took within this process.
      taken: bytes of memory that it took within this process.
    """
    if isinstance(found, Broken) or (isinstance(found, Ended) and "Traceback" in found.out + found.err):
        return TRACEBACK
    is_command = isinstance(found, Ended)
    if found.status is None if is_command else seconds > MOST_S or taken > MOST_BYTES:
        return HUNG
    if case.must.holds(found):
        return OK
    return SILENT if not isinstance(found, Refused) and (not is_command or found.status == 0) else OTHER


@contextlib.contextmanager
def _watched() -> Iterator[list[Any]]:
    """Gives [seconds, bytes of memory at the peak beyond those before] at its end; ends a process that hangs."""
    used: list[Any] = []
    faulthandler.dump_traceback_later(HUNG_S, exit=True)
    before, start = _memory(reset=True), time.perf_counter()
    try:
        yield used
    finally:
        used += time.perf_counter() - start, _memory() - before
        faulthandler.cancel_dump_traceback_later()


def _memory(*, reset: bool = False) -> int:
    """The most memory this process had since the last reset, in bytes; 0 where Linux does not tell."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0


def shown(found: Any, folder: Path) -> str:
    """An outcome in a few words, without the name of a folder that changes from run to run."""
    match found:
        case Broken():
            text = found.trace.strip().splitlines()[-1]
        case Refused():
            text = found.sentence
        case Ended(status=None):
            text = "did not end"
        case Ended():
            lines = [line for line in (found.err.strip() or found.out.strip()).splitlines() if line.strip()]
            text = f"exit {found.status}" + (f": {lines[-1].strip()}" if lines else "")
        case np.ndarray():
            text = f"{found.dtype.name} {list(found.shape)}"
        case _:
            text = str(found)
    return text.replace(f"{folder}/", "").replace(str(folder), ".")
