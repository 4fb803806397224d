"""``jaxtl`` and ``python -m jaxtl``: all commands under one name, from any directory."""

import importlib
import subprocess
import sys

import pytest

import jaxtl
from jaxtl.__main__ import COMMANDS, main


def test_without_a_command_they_are_listed(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n  {name} " in listed for name in COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "fields"])
def test_every_command_tells_its_usage(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert not ended.value.code
    assert "usage:" in capsys.readouterr().out


def test_fields_takes_no_arguments(capsys):
    assert main(["fields", "phases"]) == 2
    assert "takes no arguments; leave out 'phases'" in capsys.readouterr().err


def test_fields_and_version(capsys):
    assert main(["fields"]) == 0
    assert "batch_size" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxtl {jaxtl.__version__}\n"


def test_an_unknown_command_is_one_sentence(capsys):
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("jaxtl: There is no command 'trian'; did you mean 'train'?")


def test_a_config_may_come_first(monkeypatch):
    given = []
    monkeypatch.setattr("jaxtl.main.main", lambda argv: given.append(list(argv)) or 0)
    assert main(["train", "my_images:scratch", "--workdir", "x"]) == 0
    assert main(["train", "--config", "x.py"]) == 0
    assert given == [["--config", "my_images:scratch", "--workdir", "x"], ["--config", "x.py"]]


def test_a_config_that_does_not_come_with_jaxtl(capsys):
    assert main(["train", "densenet16"]) == 2
    assert (
        "There is no config 'densenet16' that comes with jaxtl; did you mean 'densenet161'?" in capsys.readouterr().err
    )


def test_the_folder_that_holds_the_clone_does_not_hide_the_package(tmp_path):
    """A folder ``jaxtl`` in the current directory is a namespace package, unless the real one is on the path."""
    (tmp_path / "jaxtl" / "jaxtl").mkdir(parents=True)
    code = "import jaxtl; print(jaxtl.create_model.__name__, jaxtl.__version__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    if "No module named" in found.stderr:
        pytest.skip("jaxtl is not installed in this environment")
    assert found.stdout == f"create_model {jaxtl.__version__}\n", found.stderr


def test_all_modules_can_be_run():
    for module, _ in COMMANDS.values():
        assert callable(importlib.import_module(module).main)
