"""What the documentation shows is run: examples of docstrings, and the blocks of README and the manual."""

import doctest
import importlib
import itertools
import pkgutil
import re
import shlex
import shutil
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxtl

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
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


def blocks(page, language):
    """(number of lines above it, code) of the blocks of a page in a language, but those with a reason not to run."""
    text = page.read_text()
    for match in BLOCK.finditer(text):
        if match["language"] == language and not match["reason"]:
            yield text.count("\n", 0, match.start("code")), match["code"]


def commands(code):
    """The commands of a shell block, as lists of words."""
    for line in code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.pages
@pytest.mark.usefixtures("no_pictures", "compiled_once")
@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "python"))], ids=lambda page: page.name)
def test_python_of_the_pages(page, monkeypatch):
    """The blocks are read in a row, and the later ones use names of the earlier."""
    monkeypatch.chdir(ROOT)
    namespace = {}
    for lines_above, code in blocks(page, "python"):
        exec(compile("\n" * lines_above + code, page, "exec"), namespace)


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
    table = [f"{name}/{i}.jpg,{name[:-1]}" for name in ("cats", "dogs") for i in range(12)]
    (folder / "labels.csv").write_text("\n".join(["path,label", *table]))
    shutil.copy(folder / "photographs" / "dogs" / "0.jpg", folder / "dog.jpg")
    return folder


def shortened(words):
    """The words of a command that trains, and flags that make it short."""
    trains = words[0] == "jaxtl" and words[1] in ("train", "search", "lr-find")
    if not trains and ("--config" not in words or "--help-fields" in words):
        return words
    changes = ON_PHOTOGRAPHS if any("photographs" in word for word in words) else ON_DIGITS
    return [*words, *(f"--config.{change}" for change in (*changes, *SHORT))]


def expanded(word):
    """What a shell makes of a word."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


@pytest.mark.pages
@pytest.mark.usefixtures("compiled_once", "no_pictures")
def test_commands_of_the_pages(workplace, capsys, monkeypatch):
    """All of them in a row: the later ones look at what the earlier ones have left."""
    monkeypatch.chdir(workplace)
    seen = set()
    for _, code in itertools.chain.from_iterable(blocks(page, "sh") for page in PAGES):
        for words in commands(code):
            assert words[0] == "jaxtl" or words[:2] == ["python", "-m"], "another command says why it is not run"
            if tuple(words) in seen:
                continue
            seen.add(tuple(words))
            words = [path for word in shortened(words) for path in expanded(word)]
            assert run_command(words) == 0, (words, capsys.readouterr().err)


def run_command(words):
    """The exit status of ``jaxtl COMMAND …`` or ``python -m MODULE …``, in this process."""
    module, arguments = ("jaxtl.__main__", words[1:]) if words[0] == "jaxtl" else (command_of(words[2]), words[3:])
    with pytest.MonkeyPatch.context() as patch:
        # A command quietens its process, which goes on here.
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        patch.setattr(threading, "excepthook", threading.excepthook)
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        try:
            return importlib.import_module(module).main(arguments)
        except SystemExit as exit_:
            return exit_.code or 0


def command_of(module):
    """The module behind ``python -m``: a package's is its ``__main__``."""
    return f"{module}.__main__" if hasattr(importlib.import_module(module), "__path__") else module


def test_the_pages_have_blocks_to_run_and_name_only_what_exists():
    for language in ("python", "sh"):
        assert sum(any(blocks(page, language)) for page in PAGES) > 2
    for page in PAGES:
        text = page.read_text()
        missing = [path for path in re.findall(r"(?:configs|docs)/[\w-]+\.\w+", text) if not (ROOT / path).exists()]
        assert [path for path in missing if path not in ("configs/NAME.py", "configs/X.py")] == [], page.name
        links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
        assert [link for link in links if not (page.parent / link).exists()] == [], page.name


def test_readme_is_a_front_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
