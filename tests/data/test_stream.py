import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from jaxtl.data.dataset import Dataset, take
from jaxtl.data.stored import StoredImages
from jaxtl.data.stream import stream
from jaxtl.errors import UserError
from jaxtl.runtime.mesh import data_mesh
from jaxtl.train.examples import batches, place

N = 20


class Numbered:
    """Image i is filled with i; a class, so that worker processes can be handed it."""

    def __call__(self, position):
        if position == 98:
            os.kill(os.getpid(), signal.SIGKILL)
        if position == 97:
            os._exit(3)  # as a library in C might; 1 is how Python ends after an error
        if position == 99:
            raise UserError("x.jpg could be decoded when the run began, but no more.")
        return np.full((4, 5, 3), position, np.uint8)


def stored(positions=range(N), workers=2):
    return StoredImages(Numbered(), np.array(positions), (4, 5, 3), np.zeros(len(positions), "S1"), workers)


def test_batches_come_in_the_order_of_the_rows():
    rows = np.random.default_rng(0).permutation(N).reshape(5, 4)
    streamed = list(stream(stored(), rows))
    assert np.array_equal(np.stack(streamed)[..., 0, 0, 0], rows)
    assert all(type(batch) is np.ndarray and batch.shape == (4, 4, 5, 3) for batch in streamed)


def test_a_file_that_has_gone_is_told_in_its_sentence():
    with pytest.raises(UserError, match=r"^x\.jpg could be decoded"):
        list(stream(stored([*range(7), 99], workers=1), np.arange(8).reshape(2, 4)))


@pytest.mark.parametrize("how", [97, 98])
def test_a_worker_that_ends_or_is_killed_is_told(how):
    with pytest.raises(UserError, match="has ended before its time"):
        list(stream(stored([*range(15), how], workers=1), np.arange(16).reshape(4, 4)))


UNGUARDED = """
import numpy as np
from jaxtl.data.stored import StoredImages
from jaxtl.data.stream import stream

images = StoredImages(np.zeros, np.ones((4, 3), np.int64), (1, 1, 1), np.zeros(4, "S1"), 1)
list(stream(images, np.arange(4).reshape(2, 2)))
"""


def test_a_program_that_its_workers_would_run_again_is_told(tmp_path):
    (tmp_path / "program.py").write_text(UNGUARDED)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "could not start, for the reason above" in done.stderr.splitlines()[-1]
    assert "the call of jaxtl under such a line, or read all images" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("is_balanced", [False, True])
def test_an_epoch_goes_on_in_the_middle_with_the_batches_it_would_have_had(is_balanced):
    labels, mesh = np.arange(N, dtype=np.int32) % 3, data_mesh(6)
    whole = Dataset(stored(workers=1), labels, ("a", "b", "c"))
    chosen = take(whole, np.arange(1, N))
    in_memory = Dataset(np.asarray(chosen.images), chosen.labels, chosen.class_names)

    def seen(dataset, first):
        examples, balanced = place(dataset, mesh), dataset.labels if is_balanced else None
        for inputs, labels, order, row in batches(examples, 6, (1, 2), mesh, first, balanced):
            at = np.asarray(order.indices)[row]
            yield np.asarray(inputs)[at, 0, 0, 0], np.asarray(labels)[at], np.asarray(order.mask)[row]

    from_memory, streamed = list(seen(in_memory, 0)), list(seen(chosen, 2))
    assert len(from_memory) == 4 and len(streamed) == 2
    for expected, found in zip(from_memory[2:], streamed, strict=True):
        for a, b in zip(expected, found, strict=True):
            assert np.array_equal(a, b)


INTERRUPTED = """
import os, signal, sys, time
sys.path.insert(0, os.path.dirname(__file__))
import numpy as np
from test_stream import stored
from jaxtl.data.stream import stream

if __name__ == "__main__":
    seen = []
    signal.signal(signal.SIGINT, lambda *_: seen.append("told"))
    batches = stream(stored(), np.arange(20).reshape(5, 4))
    first = next(batches)
    os.killpg(0, signal.SIGINT)  # what Ctrl-C does
    time.sleep(0.5)
    print(seen, 1 + sum(1 for _ in batches))
"""


def test_ctrl_c_reaches_the_run_and_not_its_workers(tmp_path):
    shutil.copy(__file__, tmp_path / "test_stream.py")
    (tmp_path / "script.py").write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, start_new_session=True, check=False
    )
    assert done.stdout == "['told'] 5\n", done.stderr
