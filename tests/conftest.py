"""Fixtures that the tests of several rooms share."""

import logging
import os
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope="session")
def cifar10_dir() -> Path:
    """The folder that holds the real ``cifar-10-batches-py``: ``$JAXTL_DATA``, else ``data`` in the repository."""
    folder = Path(os.environ.get("JAXTL_DATA") or Path(__file__).parents[1] / "data")
    if not (folder / "cifar-10-batches-py").is_dir():
        pytest.skip(f"no cifar-10-batches-py in {folder}: set JAXTL_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Keep compiled programs for the length of a module whose tests compile the same ones again and again."""
    options = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # it looks at its options once
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def no_pictures(monkeypatch):
    """Reports without pictures, for tests that run many runs and look at other things: drawing takes the longest."""
    monkeypatch.setattr("jaxtl.experiment.draw", lambda **kwargs: {})


class Outcome(NamedTuple):
    """What a command left behind: exit status and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(capsys, monkeypatch):
    """``python -m jaxtl.main`` in this process: ``command(*arguments)`` gives its `Outcome`."""
    from jaxtl.main import main

    # The command quietens what libraries log, for its process; here that process goes on.
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = logging.root.manager.disable

    def run(*arguments):
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # argparse
            status = exit_.code or 0
        return Outcome(status, *capsys.readouterr())

    yield run
    logging.disable(before)


TINY = """
from jaxtl.config import default_config, phase

def get_config():
    config = default_config()
    config.name = "tiny"
    config.data.name = "digits"
    config.data.subset = 200
    config.data.test_subset = 100
    config.model.options = {"blocks": ((4,),), "hidden": (8,)}
    config.batch_size = 32
    config.phases = (phase(epochs=2, learning_rate=0.01),)
    return config
"""

# As configs/quickstart.py, but smaller: a source, a baseline, two phases.
TRANSFER = """
from jaxtl.config import default_config, phase

def get_config():
    config = default_config()
    config.name = "transfer"
    config.data.name = "digits"
    config.data.classes = ("5", "6", "7")
    config.data.per_class = 5
    config.data.validation = 0.0
    config.model.options = {"blocks": ((4,),), "hidden": (8,)}
    config.model.weights = "source"
    config.batch_size = 5
    config.phases = (phase(train=("head",), epochs=2, keep="last"), phase(epochs=2, keep="last"))
    config.source.data = {"classes": ("0", "1", "2"), "per_class": 0, "subset": 100, "validation": 0.2}
    config.source.batch_size = 10
    config.source.phases = (phase(epochs=3),)
    config.baselines.scratch = {"model": {"weights": ""}, "phases": (phase(epochs=4, keep="last"),)}
    return config
"""


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory):
    """A config file whose run takes a second."""
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def transfer_config(tmp_path_factory):
    """A config file with a source and a baseline."""
    path = tmp_path_factory.mktemp("configs") / "transfer.py"
    path.write_text(TRANSFER)
    return path
