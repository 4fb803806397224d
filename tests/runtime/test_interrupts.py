import signal
import threading

import pytest

from jaxtl.runtime.interrupts import StopFlag, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_raises_the_flag_and_nothing_else(number):
    with stop_on_signals(signal.SIGTERM, signal.SIGINT) as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        assert stop.signal is number


def test_the_old_handlers_come_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with pytest.raises(RuntimeError), stop_on_signals(signal.SIGTERM, signal.SIGINT):  # noqa: PT012
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
        raise RuntimeError
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_second_ctrl_c_leaves_at_once():
    with stop_on_signals(signal.SIGINT):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_second_sigterm_waits_like_the_first():
    with stop_on_signals(signal.SIGTERM) as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal is signal.SIGTERM


def test_other_threads_get_a_flag_that_nobody_raises():
    flags = []

    def work():
        with stop_on_signals(signal.SIGTERM) as stop:
            flags.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert flags == [False]
    assert not StopFlag()
