"""Turns, medians, and batches that are halved."""

import gc
import weakref

import jax
import pytest

from benchmarks.contender import Contender
from benchmarks.measure import LEAST_STEPS, halved_until_it_fits, in_turn, out_of_memory, peak_memory, ratio


def test_contenders_take_turns():
    log = []
    contenders = [Contender(name, lambda name=name: log.append(name), lambda: None) for name in "ab"]
    seconds = in_turn(contenders, repeats=2, least_s=0)
    assert "".join(log) == "ab" + 2 * (LEAST_STEPS * "a" + LEAST_STEPS * "b")  # a step each to see how long it takes
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_ratio_is_of_medians_and_its_spread_of_pairs():
    assert ratio([1, 2, 4], [2, 6, 2]) == (1.0, 0.5, 3.0)


class OutOfMemoryError(RuntimeError):
    """As PyTorch calls it."""


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes."),
        OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
    ],
)
def test_batch_is_halved_until_it_fits(error):
    said = []

    def build(batch):
        if batch > 2:
            raise error
        return f"batch of {batch}"

    assert halved_until_it_fits(8, build, said.append) == (2, "batch of 2")
    assert said == [f"A batch of {n} does not fit into memory; trying {n // 2}." for n in (8, 4)]


def test_what_did_not_fit_is_let_go():
    class Held:
        pass

    left = []

    def build(batch):
        held = Held()
        gc.collect()
        alive = [each for each in left if each() is not None]
        left.append(weakref.ref(held))
        if batch > 1:
            raise MemoryError
        return alive

    assert halved_until_it_fits(4, build, lambda line: None) == (1, [])


def test_other_errors_and_a_batch_of_one_are_not_halved():
    def build(batch):
        raise error

    for error in (RuntimeError("shapes differ"), MemoryError()):
        with pytest.raises(type(error)):
            halved_until_it_fits(1 if out_of_memory(error) else 8, build, pytest.fail)


def test_peak_memory_is_there():
    assert peak_memory().bytes > 10e6
