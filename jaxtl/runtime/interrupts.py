"""Stopping in good order: SIGTERM and Ctrl-C ask the loop to save and leave, a second Ctrl-C leaves at once."""

import contextlib
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

_replaced: list[Any] = []  # the handler that comes back after the imports


class StopFlag:
    """Whether a signal has asked for the end, and which.

    Attributes:
      signal: the signal, or ``None`` while nobody has asked.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


class Interrupted(Exception):  # noqa: N818 - a request that was met is not an error
    """A signal asked for the end, and everything is saved; ``where`` ends the phrase "Stopped by SIGTERM …".

    Attributes:
      stop: which signal.
    """

    def __init__(self, stop: StopFlag, where: str) -> None:
        name = stop.signal.name if stop.signal else "request"
        super().__init__(f"Stopped by {name} {where}; all is saved: run the same command again to go on.")
        self.stop = stop


@contextlib.contextmanager
def stop_on_signals(*signals: signal.Signals) -> Iterator[StopFlag]:
    """A flag that the given signals raise, in place of what they did before; the old handlers come back at the end.

    Python hands signals to the main thread alone: in any other thread the flag is never raised.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if flag and number == signal.SIGINT:
            raise KeyboardInterrupt
        flag.signal = signal.Signals(number)

    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def keep_interrupts(*, quiet: bool = False) -> None:
    """Let a Ctrl-C come again that Python drops because it came during a callback, for the rest of this process.

    Python ignores what is raised by callbacks of the garbage collector, of which JAX has one, and by finalizers.

    Args:
      quiet: whether other errors of that kind are left off the screen.
    """

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(0.05, _interrupt_main_thread).start()  # once the callback is over
        elif not quiet:
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = hook


def _interrupt_main_thread() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # also where it waits for something


def end_on_interrupt() -> None:
    """Until ``raise_on_interrupt``, let Ctrl-C end this process silently: while modules are imported.

    There is nothing to save yet, and an extension module that a ``KeyboardInterrupt`` reaches while it starts raises
    another error, or aborts. Only Python's own handler is replaced: a shell's background jobs go on ignoring Ctrl-C.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    if on_main_thread and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        _replaced.append(signal.signal(signal.SIGINT, signal.SIG_DFL))


def raise_on_interrupt() -> None:
    """Let Ctrl-C raise again where ``end_on_interrupt`` has changed that."""
    while _replaced:
        signal.signal(signal.SIGINT, _replaced.pop())


def is_command() -> bool:
    """Whether this process is one of jaxtl's commands, asked while Python imports the package for it."""
    name = Path(sys.argv[0] if sys.argv else "").name
    # The module stands before the program's own arguments: -m jaxtl.main, -um jaxtl.main or -mjaxtl.main.
    module = re.sub(r"^-\w*?m", "", sys.orig_argv[-len(sys.argv)]) if name == "-m" else ""
    return name in ("jaxtl", "jaxtl.exe") or module.partition(".")[0] == "jaxtl"


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an error is a Ctrl-C, or was raised from one: Python 3.11 does that to errors of ``__set_name__``."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None
