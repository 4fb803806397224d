import gc
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxtl.runtime.command import exit_status, outcome_of
from jaxtl.runtime.interrupts import (
    StopFlag,
    end_on_interrupt,
    is_command,
    keep_interrupts,
    raise_on_interrupt,
    stop_on_signals,
    was_interrupted,
)


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


@pytest.mark.parametrize(
    ("argv", "started", "expected"),
    [
        (["-m", "--config", "x"], ["python", "-m", "jaxtl.main", "--config", "x"], True),
        (["-m"], ["python", "-um", "jaxtl"], True),
        (["-m"], ["python", "-mjaxtl.main"], True),
        (["/usr/bin/jaxtl", "train"], ["python", "/usr/bin/jaxtl", "train"], True),
        (["-m", "-m", "jaxtl"], ["python", "-m", "theirs.train", "-m", "jaxtl"], False),
        (["jaxtl.py"], ["python", "jaxtl.py"], False),
        (["theirs.py"], ["python", "theirs.py"], False),
        ([""], ["python"], False),
    ],
)
def test_commands_are_known_while_python_imports_them(monkeypatch, argv, started, expected):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", started)
    assert is_command() is expected


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_ctrl_c_raises_again_after_the_imports(before):
    ours = signal.signal(signal.SIGINT, before)
    try:
        end_on_interrupt()
        assert signal.getsignal(signal.SIGINT) == (signal.SIG_IGN if before == signal.SIG_IGN else signal.SIG_DFL)
        raise_on_interrupt()
        assert signal.getsignal(signal.SIGINT) == before
    finally:
        signal.signal(signal.SIGINT, ours)


def test_a_command_lets_ctrl_c_raise_again(capsys, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        end_on_interrupt()
        assert exit_status(lambda: signal.raise_signal(signal.SIGINT)) == 130
    finally:
        signal.signal(signal.SIGINT, ours)
    assert capsys.readouterr().err == "Stopped.\n"


def test_a_host_that_lets_ctrl_c_end_it_keeps_that():
    ours = signal.signal(signal.SIGINT, signal.SIG_DFL)  # as programs with windows do
    try:
        assert exit_status(lambda: 0) == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, ours)


# jaxtl imports the module of the command last.
@pytest.mark.parametrize(
    ("command", "module"), [(["-m", "jaxtl.main"], "numpy"), (["-m", "jaxtl", "train"], "jaxtl.report.trackers")]
)
def test_ctrl_c_ends_a_command_silently_during_its_imports(command, module):
    # As a terminal starts it; Python's -v says on stderr which module it imports.
    heeding = "signal.signal(signal.SIGINT, signal.default_int_handler); os.execv(sys.argv[1], sys.argv[1:])"
    begun = [sys.executable, "-c", f"import os, signal, sys; {heeding}", sys.executable, "-v", *command]
    with subprocess.Popen(begun, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("import 'jaxtl.runtime.interrupts'"):
                break
        for line in process.stderr:
            if line.startswith(f"import '{module}'"):
                process.send_signal(signal.SIGINT)
                break
        out, rest = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert out == ""
    assert "Traceback" not in rest


def interrupted_class_body():
    """What a Ctrl-C raises that comes while a class names its attributes; Python 3.11 wraps it."""

    class Attribute:
        def __set_name__(self, owner, name):
            raise KeyboardInterrupt

    try:
        type("Owner", (), {"field": Attribute()})
    except BaseException as error:
        return error


def test_a_ctrl_c_that_python_wraps_is_one():
    error = interrupted_class_body()
    assert isinstance(error, RuntimeError) is (sys.version_info < (3, 12))
    assert was_interrupted(error)
    assert not was_interrupted(RuntimeError("a bug"))
    assert outcome_of(error) == (130, "Stopped.")
