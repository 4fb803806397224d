import signal

import numpy as np
import pytest

from jaxtl.runtime.interrupts import StopFlag
from jaxtl.train import meetings
from jaxtl.train.meetings import Meetings


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes when it is told to: ``clock[0]`` in seconds."""
    now = [0.0]
    monkeypatch.setattr(meetings.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def of_two(monkeypatch):
    """This process is the first of two; gives what the other one tells: its signal, whether a save is due, steps."""
    other = [0, 0, 1]
    monkeypatch.setattr(meetings, "alone", lambda: False)
    monkeypatch.setattr(meetings, "numbers_of_all", lambda own: np.array([own, other], int))
    return other


def test_alone_by_the_clock(clock):
    meeting = Meetings(StopFlag(), 0.5)
    assert not meeting.due()
    clock[0] = 0.6
    assert meeting.due()
    assert meeting.meet(save=True) == (False, True)
    assert not meeting.due(), "it begins anew"


def test_alone_at_once_after_a_signal(clock):
    stop = StopFlag()
    meeting = Meetings(stop, 0.5)
    stop.signal = signal.SIGTERM
    assert meeting.due()
    assert meeting.meet() == (True, False)


def test_several_meet_after_a_number_of_steps_that_grows_towards_the_clock(clock, of_two):
    meeting, steps = Meetings(StopFlag(), 0.5), []
    for _ in range(5):
        done = 1
        clock[0] += 0.01
        while not meeting.due():
            done += 1
            clock[0] += 0.01
        assert meeting.meet() == (False, False)
        steps.append(done)
    assert steps == [1, 4, 16, 50, 50], "50 steps of 0.01 s are half a second"


def test_a_signal_to_another_raises_the_flag_here(clock, of_two):
    stop = StopFlag()
    of_two[0] = signal.SIGINT
    assert Meetings(stop, 0.5).meet() == (True, False)
    assert stop.signal is signal.SIGINT


def test_the_clock_of_the_first_says_when_to_save(clock, of_two):
    of_two[1] = True
    assert Meetings(StopFlag(), 0.5).meet(save=False) == (False, False)
    assert Meetings(StopFlag(), 0.5).meet(save=True) == (False, True)


def test_a_signal_that_comes_while_all_meet_waits_for_the_next_meeting(clock, of_two, monkeypatch):
    stop = StopFlag()

    def too_late(own):
        stop.signal = signal.SIGTERM
        return np.array([own, of_two], int)

    monkeypatch.setattr(meetings, "numbers_of_all", too_late)
    meeting = Meetings(stop, 0.5)
    assert meeting.meet() == (False, False), "the others do not know of it"
    assert meeting.meet() == (True, False)
