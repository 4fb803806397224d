import signal

import numpy as np
import pytest

from jaxtl.runtime.interrupts import StopFlag
from jaxtl.train import sync
from jaxtl.train.sync import SyncSchedule


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes when it is told to: ``clock[0]`` in seconds."""
    now = [0.0]
    monkeypatch.setattr(sync.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def of_two(monkeypatch):
    """This process is the main one of two; gives what the other one tells: its signal, whether a save is due, steps."""
    other = [0, 0, 1]
    monkeypatch.setattr(sync, "is_single_process", lambda: False)
    monkeypatch.setattr(sync, "gather_ints", lambda own: np.array([own, other], int))
    return other


def test_alone_by_the_clock(clock):
    schedule = SyncSchedule(StopFlag())
    assert not schedule.due()
    clock[0] = 0.6
    assert schedule.due()
    assert schedule.sync(save=True) == (False, True)
    assert not schedule.due(), "the clock starts again"


def test_alone_at_once_after_a_signal(clock):
    stop = StopFlag()
    schedule = SyncSchedule(stop)
    stop.signal = signal.SIGTERM
    assert schedule.due()
    assert schedule.sync() == (True, False)


def test_several_sync_after_a_number_of_steps_that_grows_towards_the_clock(clock, of_two):
    schedule, steps = SyncSchedule(StopFlag()), []
    for _ in range(5):
        done = 1
        clock[0] += 0.01
        while not schedule.due():
            done += 1
            clock[0] += 0.01
        assert schedule.sync() == (False, False)
        steps.append(done)
    assert steps == [1, 4, 16, 50, 50], "50 steps of 0.01 s are half a second"


def test_a_signal_to_another_raises_the_flag_here(clock, of_two):
    stop = StopFlag()
    of_two[0] = signal.SIGINT
    assert SyncSchedule(stop).sync() == (True, False)
    assert stop.signal is signal.SIGINT


def test_the_clock_of_the_main_process_says_when_to_save(clock, of_two):
    of_two[1] = True
    assert SyncSchedule(StopFlag()).sync(save=False) == (False, False)
    assert SyncSchedule(StopFlag()).sync(save=True) == (False, True)


def test_a_signal_that_comes_during_a_sync_waits_for_the_next_one(clock, of_two, monkeypatch):
    stop = StopFlag()

    def too_late(own):
        stop.signal = signal.SIGTERM
        return np.array([own, of_two], int)

    monkeypatch.setattr(sync, "gather_ints", too_late)
    schedule = SyncSchedule(stop)
    assert schedule.sync() == (False, False), "the others do not know of it"
    assert schedule.sync() == (True, False)
