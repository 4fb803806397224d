"""What the documentation shows is run: examples of docstrings, and the blocks of README."""

import doctest
import importlib
import pkgutil
import re
import shlex
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxtl

ROOT = Path(__file__).parents[1]
MODULES = [module.name for module in pkgutil.walk_packages(jaxtl.__path__, "jaxtl.")]

# A fenced block, its language, and the reason where a comment above says that it is not run.
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>.+?) -->\n+)?^```(?P<language>\w+)\n(?P<code>.*?)^```", re.M | re.S)

# What makes any training of README small: one epoch, and the embedded data or the photographs below.
SHORT = ("phases.0.epochs=1", "phases.0.warmup_epochs=0")
ON_DIGITS = (
    *("data.name=digits", "data.mean=0.5", "data.std=0.5", "data.subset=200", "data.test_subset=50", "data.classes="),
    "batch_size=50",
)
ON_PHOTOGRAPHS = ("data.size=32", "batch_size=8")


def blocks(language):
    """(line number, code) of README's blocks in a language, those with a reason marked to be skipped."""
    text = (ROOT / "README.md").read_text()
    for match in BLOCK.finditer(text):
        if match["language"] == language:
            skip = [pytest.mark.skip(reason=match["reason"])] if match["reason"] else []
            number = text.count("\n", 0, match.start("code")) + 1
            yield pytest.param(match["code"], id=f"line {number}", marks=skip)


def commands(code):
    """The commands of a shell block, as lists of words."""
    for line in code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.fixture(scope="module")
def namespace():
    """The blocks of README are read in a row, and the later ones use names of the earlier."""
    return {}


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("code", list(blocks("python")))
def test_python_of_the_readme(code, namespace, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(code, namespace)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Where a reader stands: the configs, photographs of their own, and what the commands before have left."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "configs").symlink_to(ROOT / "configs")
    rng = np.random.default_rng(0)
    for k, name in enumerate(("cats", "dogs", "geese")):
        (folder / "photographs" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 128, (40, 50, 3), np.uint8)
            pixels[..., k] += 100
            Image.fromarray(pixels).save(folder / "photographs" / name / f"{i}.jpg")
    shutil.copy(folder / "photographs" / "dogs" / "0.jpg", folder / "dog.jpg")
    return folder


def shortened(words):
    """The words of a command that trains, and flags that make it short."""
    if "--config" not in words or "--help-fields" in words:
        return words
    changes = ON_PHOTOGRAPHS if any("photographs" in word for word in words) else ON_DIGITS
    return [*words, *(f"--config.{change}" for change in (*changes, *SHORT))]


def expanded(word):
    """What a shell makes of a word."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


@pytest.mark.usefixtures("compiled_once", "no_pictures")
def test_commands_of_the_readme(workplace, capsys, monkeypatch):
    """All of them in a row: the later ones look at what the earlier ones have left."""
    monkeypatch.chdir(workplace)
    for words in (words for block in blocks("sh") if not block.marks for words in commands(block.values[0])):
        assert words[:2] == ["python", "-m"], "a block with other commands says why it is not run"
        words = [path for word in shortened(words) for path in expanded(word)]
        with pytest.MonkeyPatch.context() as patch:
            # A command quietens its process, which goes on here.
            patch.setattr(sys, "unraisablehook", sys.unraisablehook)
            patch.setattr(threading, "excepthook", threading.excepthook)
            try:
                status = importlib.import_module(command_of(words[2])).main(words[3:])
            except SystemExit as exit_:
                status = exit_.code or 0
        assert status == 0, (words, capsys.readouterr().err)


def command_of(module):
    """The module behind ``python -m``: a package's is its ``__main__``."""
    return f"{module}.__main__" if hasattr(importlib.import_module(module), "__path__") else module


def test_the_readme_has_blocks_to_run_and_names_only_what_exists():
    text = (ROOT / "README.md").read_text()
    assert list(blocks("python")), "README shows the library"
    assert any("python -m jaxtl.main" in block.values[0] for block in blocks("sh")), "README shows the command"
    missing = [path for path in re.findall(r"(?:configs|docs)/\w+\.\w+", text) if not (ROOT / path).exists()]
    assert [path for path in missing if path != "configs/NAME.py"] == []
    assert not re.search(r"^RESULTS?$", text, re.M), "the table of results is filled in"
