"""When the loop waits for the device and looks up: is the end asked for, is a save due?

A process that is alone goes by its clock. Several must all do so after the same step, as the one that turned aside
would leave the others waiting for it; so each meeting sets, by the clock of the first process, after how many steps the
next one is.
"""

import signal
import time

from jaxtl.runtime.interrupts import StopFlag
from jaxtl.runtime.processes import alone, numbers_of_all

_GROWTH = 4  # how many times longer than the last interval the next may be: one odd measurement must not cost minutes


class Meetings:
    """The meetings of one phase or pass.

    Args:
      stop: raised by a signal to this process; a meeting raises it in all.
      every_s: about how often to meet, in seconds.
    """

    def __init__(self, stop: StopFlag, every_s: float) -> None:
        self._stop, self._every_s = stop, every_s
        self._interval = 1
        self.begin()

    def begin(self) -> None:
        """Start the clock: steps follow."""
        self._steps, self._since = 0, time.perf_counter()

    def due(self) -> bool:
        """Whether to wait for the device and meet now; to be asked once after every step."""
        self._steps += 1
        if alone():
            return time.perf_counter() - self._since > self._every_s or bool(self._stop)
        return self._steps >= self._interval

    def meet(self, save: bool = False) -> tuple[bool, bool]:
        """Agree whether to stop, and whether to save: ``(stop, save)``.

        Args:
          save: whether a save is due by the clock of this process; that of the first one counts.
        """
        if not alone():
            steps_a_second = self._steps / max(time.perf_counter() - self._since, 1e-9)
            wanted = min(round(steps_a_second * self._every_s), _GROWTH * self._interval)
            own = (self._stop.signal or 0, save, max(wanted, 1))
            agreed = numbers_of_all(own)
            self._interval, save = int(agreed[0, 2]), bool(agreed[0, 1])
            if asked := int(agreed[:, 0].max()):
                self._stop.signal = signal.Signals(asked)
            self.begin()
            return bool(asked), save
        self.begin()
        return bool(self._stop), save
