"""What the tests of the loop share: an observer that remembers, and when two outcomes are the same."""

import numpy as np

from jaxtl.train.checkpoint import flatten
from jaxtl.train.loop import Fitted

TIMES = ("seconds", "images_per_s")


class Recorder:
    """An observer that writes everything down, and calls a hook before each event so that a test can interfere."""

    def __init__(self, hook=lambda event, *details: None):
        self.events, self.hook = [], hook

    def on_compile(self, what, seconds):
        self._note("compile", what, seconds)

    def on_epoch_start(self, phase, epoch, epochs, images):
        self._note("start", phase, epoch, epochs, images)

    def on_images(self, done):
        self._note("images", done)

    def on_pass_start(self, what, images):
        self._note("pass start", what, images)

    def on_pass_end(self, what, views, images, seconds):
        self._note("pass end", what, views, images, seconds)

    def on_pass_skipped(self, what, images):
        self._note("pass skipped", what, images)

    def on_pass_awaited(self):
        self._note("awaited")

    def on_pass_unkept(self, what, images, nbytes, most_bytes):
        self._note("unkept", what, images, nbytes, most_bytes)

    def on_time_saved(self, epochs, passes, seconds):
        self._note("saved", epochs, passes, seconds)

    def on_epoch_end(self, line):
        self._note("end", line)

    def _note(self, event, *details):
        self.events.append((event, *details))
        self.hook(event, *details)

    def of(self, event):
        return [details for kind, *details in self.events if kind == event]


def without_times(history):
    return [{field: value for field, value in line.items() if field not in TIMES} for line in history]


def assert_same_bits(tree, other):
    flat, expected = flatten(tree), flatten(other)
    assert flat.keys() == expected.keys()
    for path, leaf in flat.items():
        np.testing.assert_array_equal(leaf, expected[path], err_msg=path)


def assert_same_outcome(fitted: Fitted, whole: Fitted):
    assert_same_bits(fitted.variables, whole.variables)
    assert fitted.best_epoch == whole.best_epoch
    assert without_times(fitted.history) == without_times(whole.history)
