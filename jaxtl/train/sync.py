"""When the training loop waits for the device and looks up: is a stop asked for, is a save due?

A single process goes by its clock. Several processes must all do so after the same step, because one that turned aside
would leave the others waiting for it. So at each sync they agree, by the clock of the main process, after how many
steps the next one is.
"""

import signal
import time

from jaxtl.runtime.interrupts import StopFlag
from jaxtl.runtime.processes import gather_ints, is_single_process

# Seconds between syncs: short enough for a live progress bar and an early end on NaN, long enough to cost nothing.
SYNC_S = 0.5
_GROWTH = 4  # how many times longer than the last interval the next may be: one odd measurement must not cost minutes


class SyncSchedule:
    """The syncs of one phase or pass.

    Args:
      stop: raised by a signal to this process; a sync raises it in all.
    """

    def __init__(self, stop: StopFlag) -> None:
        self._stop, self._interval = stop, 1
        self.start()

    def start(self) -> None:
        """Start the clock, before the next step."""
        self._steps, self._since = 0, time.perf_counter()

    def due(self) -> bool:
        """Whether to wait for the device and sync now; to be asked once after every step."""
        self._steps += 1
        if is_single_process():
            return time.perf_counter() - self._since > SYNC_S or bool(self._stop)
        return self._steps >= self._interval

    def sync(self, save: bool = False) -> tuple[bool, bool]:
        """Agree whether to stop, and whether to save: ``(stop, save)``.

        Args:
          save: whether a save is due by the clock of this process; that of the main one counts.
        """
        if not is_single_process():
            steps_a_second = self._steps / max(time.perf_counter() - self._since, 1e-9)
            wanted = min(round(steps_a_second * SYNC_S), _GROWTH * self._interval)
            own = (self._stop.signal or 0, save, max(wanted, 1))
            agreed = gather_ints(own)
            self._interval, save = int(agreed[0, 2]), bool(agreed[0, 1])
            if asked := int(agreed[:, 0].max()):
                self._stop.signal = signal.Signals(asked)
            self.start()
            return bool(asked), save
        self.start()
        return bool(self._stop), save
