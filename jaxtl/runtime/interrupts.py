"""Stopping in good order: SIGTERM and Ctrl-C ask the loop to save and leave, a second Ctrl-C leaves at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopFlag:
    """Whether a signal has asked for the end, and which.

    Attributes:
      signal: the signal, or ``None`` while nobody has asked.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


class Interrupted(Exception):  # noqa: N818 - a request that was met is no error
    """A signal asked for the end, and everything is saved.

    Attributes:
      stop: tells which signal.

    Args:
      stop: see above.
      where: ends the phrase "Stopped by SIGTERM …".
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
