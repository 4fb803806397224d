"""What commands owe the shell, with the streams that a shell may give them."""

import argparse
import io
import os
import pathlib
import subprocess
import sys

import pytest
from rich.console import Console

from jaxtl.errors import UserError
from jaxtl.runtime.command import escape_unencodable, exit_status, outcome_of, tell, whole_number

ROOT = pathlib.Path(__file__).parents[2]
FULL = pathlib.Path("/dev/full")


@pytest.fixture(autouse=True)
def same_hooks(monkeypatch):
    for name in ("stdout", "stderr", "unraisablehook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))


def stream(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def written(wrapped):
    wrapped.flush()
    return wrapped.buffer.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_no_encoding_of_the_console_is_an_error(encoding):
    text = "Größe 3 · 4 … 猫 \udc80"
    sys.stdout, sys.stderr = streams = stream(encoding), stream(encoding)

    def work():
        print(text)
        Console().print(text)
        tell(text)
        raise UserError(text)

    assert exit_status(work) == 2
    for each in streams:
        assert text.encode(encoding, "backslashreplace") in written(each)


def test_libraries_print_what_the_console_lacks_too():
    sys.stdout = output = stream("ascii")
    escape_unencodable()
    print("猫")
    assert written(output) == b"\\u732b\n"


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, a disk without space")
@pytest.mark.parametrize("printing", [print, lambda text: Console().print(text)])
def test_a_full_disk_behind_stdout_is_told_as_such(printing, capfd):
    def work():
        try:
            printing("x\n" * 10_000)
        except OSError as error:  # as if the work folder could not be written
            raise UserError("Something else cannot be written.") from error
        return 0

    with FULL.open("w") as sys.stdout:
        status = exit_status(work)
    assert status == 2
    assert capfd.readouterr().err == (
        "jaxtl: Standard output cannot be written (No space left on device); choose another file.\n"
    )


@pytest.mark.parametrize("printing", [print, lambda text: Console().print(text)])
def test_a_reader_who_has_gone_is_a_status(printing):
    reading, writing = os.pipe()
    os.close(reading)

    def work():
        printing("x\n" * 10_000)
        return 0

    with os.fdopen(writing, "w") as sys.stdout:
        assert exit_status(work) == 141


def test_closed_streams_are_no_error():
    sys.stdout = sys.stderr = None

    def work():
        print("x")
        Console().print("x")
        raise UserError("x")

    assert exit_status(work) == 2
    assert sys.stdout is None


def test_argparse_ends_a_command_by_itself():
    with pytest.raises(SystemExit) as info:
        exit_status(lambda: sys.exit(3))
    assert info.value.code == 3


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "²", ""])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number of 1 or more"):
        whole_number(1)(text)


def test_a_bug_keeps_its_traceback(capsys):
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: 1 // 0)
    assert outcome_of(ZeroDivisionError("x")) == (1, "ZeroDivisionError: x")
    assert outcome_of(SystemExit(3)) == (3, "")


FIELDS = f"{sys.executable} -m jaxtl fields"
DEVICE = (
    "from jaxtl.runtime import command, environment; exit(command.exit_status(lambda: print(environment.device())))"
)
SHELLS = {
    f"{FIELDS} | true": (141, ""),
    f"{FIELDS} >/dev/full": (
        2,
        "jaxtl: Standard output cannot be written (No space left on device); choose another file.\n",
    ),
    f"{FIELDS} >&-": (0, ""),
    f"JAX_PLATFORMS=nosuch {sys.executable} -c '{DEVICE}'": (
        2,
        "jaxtl: JAX finds no device to compute on (Unable to initialize backend 'nosuch': "
        "Backend 'nosuch' is not in the list of known backends",
    ),
}


@pytest.mark.processes
@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, a disk without space")
def test_commands_in_a_shell(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    running = {
        shell: subprocess.Popen(
            ["bash", "-c", f"{shell}; exit ${{PIPESTATUS[0]}}"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for shell in SHELLS
    }
    for shell, process in running.items():
        said = process.communicate()[1]
        status, expected = SHELLS[shell]
        assert process.returncode == status, said
        assert said.startswith(expected) and said.count("\n") == bool(expected), said
