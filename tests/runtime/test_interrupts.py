import gc
import signal
import sys
import threading
import time

import pytest

from jaxtl.runtime.interrupts import StopFlag, keep_interrupts, quiet_imports, stop_on_signals


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


def test_a_ctrl_c_that_python_drops_comes_again(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    keep_interrupts()

    def callback(phase, info):
        gc.callbacks.remove(callback)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    gc.callbacks.append(callback)
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            gc.collect()
            time.sleep(10)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_ctrl_c_during_the_imports_of_a_command_prints_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    quiet_imports()
    assert sys.excepthook is sys.__excepthook__  # these tests are not a command
    monkeypatch.setattr(sys, "argv", ["-m"])
    quiet_imports()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == ""
    sys.excepthook(ValueError, ValueError("a bug"), None)
    assert "ValueError: a bug" in capsys.readouterr().err
