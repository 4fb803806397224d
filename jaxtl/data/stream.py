"""Batches of stored images, decoded ahead by worker processes of Grain while the device computes.

Source: Grain, https://github.com/google/grain. An element of its pipeline is a whole batch, given by its row of
indices; batches come in the order of the rows whatever the number of workers, so that an epoch can be begun at any
row and gives the same batches again.
"""

import contextlib
import functools
import re
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker

import grain
import numpy as np
from absl import flags

from jaxtl.data.stored import StoredImages
from jaxtl.errors import UserError
from jaxtl.runtime.environment import cores

_BATCHES_AHEAD = 2  # a worker
_FAILED = re.compile(r"exit code 1\b")  # Grain's words for a worker that an error of Python ended, and no signal
_NOT_STARTED = (
    "A process that decodes images could not start, for the reason above: it first runs the file of your program "
    'again, without what stands under `if __name__ == "__main__":`; so put the program into a file and the call of '
    "jaxtl under such a line, or read all images into memory with data.stream='never'."
)
_ENDED = (
    "A process that decodes images has ended before its time (it may have been killed, or out of memory); run the same "
    "command again, with fewer data.workers if memory is short: it goes on from the last checkpoint."
)


def stream(images: StoredImages, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The images of one row after another, uint8 ``[B, H, W, C]``.

    Args:
      images: N images; their ``workers`` says how many processes decode.
      rows: int ``[steps, B]``, indices into the images.

    Raises:
      UserError: a file cannot be decoded any more.
    """
    if not flags.FLAGS.is_parsed():  # Grain reads flags of its own, in whatever program it runs
        flags.FLAGS.mark_as_parsed()
    workers = min(images.workers or cores(), len(rows))
    reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    pipeline = grain.MapDataset.source(rows).map(functools.partial(_decoded, images)).to_iter_dataset(reading)
    options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=_BATCHES_AHEAD)
    pipeline = pipeline.mp_prefetch(options, _ignore_interrupts)
    with _interrupts_held():
        started = iter(pipeline)
    begun = False
    with contextlib.closing(started) as batches:
        while True:
            try:
                with _interrupts_held():
                    batch = next(batches, None)
            except RuntimeError as error:
                raise UserError(_ENDED if begun or not _FAILED.search(str(error)) else _NOT_STARTED) from error
            if batch is None:
                return
            if isinstance(batch, str):
                raise UserError(batch)
            begun = True
            yield np.array(batch)  # out of the memory that is shared with the worker, which it wants back


def _decoded(images: StoredImages, row: np.ndarray) -> np.ndarray | str:
    """A batch, or what is wrong with it, as a value: other processes wrap exceptions into long ones of their own."""
    try:
        return np.asarray(images[row])
    except UserError as error:
        return str(error)


def _ignore_interrupts(worker: int, workers: int) -> None:
    """Ctrl-C reaches every process of a terminal, but their end is the parent's to decide."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while processes may be started, which inherit that until they can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Its start would let Ctrl-C through again, before the workers are started.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
