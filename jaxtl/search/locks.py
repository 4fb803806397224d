"""Locks between processes, also on several machines, that end with the process however that ends."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no POSIX file locks: one process a search there
    fcntl = None  # type: ignore[assignment]


class FileLock:
    """A lock on a file; also what Optuna's journal takes for one.

    Optuna's own lock is a file that stays behind when its process is killed: the next one waits half a minute for it.

    Attributes:
      path: the file, which is made and stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock and take it."""
        return self._take(wait=True)

    def try_acquire(self) -> bool:
        """Take the lock; ``False`` where another process holds it."""
        return self._take(wait=False)

    def release(self) -> None:
        """Let others in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, *, wait: bool) -> bool:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True


@contextlib.contextmanager
def exclusive(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Wait until no other process is in the same context; ``on_wait`` is called where that takes a while."""
    lock = FileLock(path)
    if not lock.try_acquire():
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
