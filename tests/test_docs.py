"""What the documentation shows is run: examples of docstrings, and the blocks of README."""

import doctest
import importlib
import pathlib
import pkgutil
import re
import shlex

import pytest

import jaxtl

ROOT = pathlib.Path(__file__).parents[1]
MODULES = [module.name for module in pkgutil.walk_packages(jaxtl.__path__, "jaxtl.")]

# A fenced block, its language, and the reason where a comment above says that it is not run.
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>.+?) -->\n+)?^```(?P<language>\w+)\n(?P<code>.*?)^```", re.M | re.S)

# What makes any command of README small: the embedded data, one epoch, a work folder of the test's.
SMALL = (
    *("data.name=digits", "data.mean=0.5", "data.std=0.5", "data.subset=200", "data.test_subset=50", "data.classes="),
    *("batch_size=50", "phases.0.epochs=1", "phases.0.warmup_epochs=0"),
)


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


@pytest.mark.usefixtures("compiled_once", "no_pictures")
@pytest.mark.parametrize("code", list(blocks("sh")))
def test_commands_of_the_readme(code, command, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    ours = [words for words in commands(code) if words[:3] == ["python", "-m", "jaxtl.main"]]
    others = [words for words in commands(code) if words not in ours]
    assert not others, "a block with other commands says why it is not run: <!-- not run: REASON -->"
    for number, words in enumerate(ours):
        small = () if "--help-fields" in words else (f"--config.{change}" for change in SMALL)
        outcome = command(*words[3:], "--workdir", tmp_path / str(number), *small)
        assert outcome.status == 0, outcome.err


def test_the_readme_has_blocks_to_run_and_names_only_what_exists():
    text = (ROOT / "README.md").read_text()
    assert list(blocks("python")), "README shows the library"
    assert any("python -m jaxtl.main" in block.values[0] for block in blocks("sh")), "README shows the command"
    missing = [path for path in re.findall(r"(?:configs|docs)/\w+\.\w+", text) if not (ROOT / path).exists()]
    assert [path for path in missing if path != "configs/NAME.py"] == []
    assert not re.search(r"^RESULTS?$", text, re.M), "the table of results is filled in"
