"""Fixtures that the tests of several rooms share."""

import functools
import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import jaxtl
from jaxtl.config.flags import load_config
from jaxtl.data.dataset import Dataset
from jaxtl.report import plots
from jaxtl.runs.folder import RunFolder
from jaxtl.runtime.lowerings import set_xla_flag, use_fast_lowerings
from jaxtl.train.scores import classification_scores

use_fast_lowerings()  # as all commands do; before a test starts XLA's backend


def compile_quickly() -> None:
    """Compile in a tenth of the time, here and in the commands that tests start: most programs of tests run once.

    ``JAX_DISABLE_MOST_OPTIMIZATIONS=0`` in the environment tests programs that are compiled as users have them.
    """
    if os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") != "0":
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # for other processes
        jax.config.update("jax_disable_most_optimizations", True)  # for this one
        set_xla_flag("--xla_cpu_use_fusion_emitters=false")
        if platform.machine().lower() in ("x86_64", "amd64"):
            # Without the new fusions XLA uses FMA in some programs and not in others, so that the same computation can
            # differ in its last bits. AVX has no FMA.
            set_xla_flag("--xla_cpu_max_isa=AVX")


compile_quickly()


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_session(tmp_path_factory):
    """Files of the tests' own in the place of the person's cache; compiled programs too, which all workers share."""
    before = os.environ.get("JAXTL_CACHE")
    os.environ["JAXTL_CACHE"] = str(tmp_path_factory.getbasetemp().parent / "cache")
    yield
    os.environ.pop("JAXTL_CACHE")
    if before:
        os.environ["JAXTL_CACHE"] = before


@pytest.fixture(scope="session")
def random_variables():
    """A function ``(model, images) -> variables`` that draws every leaf, and compiles no initialisation."""

    def draw(model, images) -> dict[str, Any]:
        shapes = jax.eval_shape(model.init, jax.random.key(0), images)
        rng = np.random.default_rng(0)
        return jax.tree.map_with_path(lambda path, leaf: draw_leaf(rng, path[-1].key, leaf), shapes)

    def draw_leaf(rng, name, leaf):
        if name in ("scale", "var"):
            return rng.uniform(0.5, 2, leaf.shape).astype(leaf.dtype)
        return rng.normal(scale=0.3, size=leaf.shape).astype(leaf.dtype)

    return draw


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
        "jax_compilation_cache_max_size": -1,  # without a limit, as in processes that are only told of the folder
        "jax_persistent_cache_min_compile_time_secs": 0.1,
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
    monkeypatch.setattr("jaxtl.report.figures.draw", lambda **kwargs: {})


@pytest.fixture(scope="module")
def coarse_pictures():
    """Pictures of few pixels, for tests that draw many and look at other things."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxtl.report.plots.png", functools.partial(plots.png, dpi=20))
        yield


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
def tiny_run(tiny_config, tmp_path_factory):
    """The finished run of that config, without pictures; tests add to it at most."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxtl.report.figures.draw", lambda **kwargs: {})
        jaxtl.run(load_config(tiny_config), folder)
    return folder


@pytest.fixture(scope="session")
def transfer_config(tmp_path_factory):
    """A config file with a source and a baseline."""
    path = tmp_path_factory.mktemp("configs") / "transfer.py"
    path.write_text(TRANSFER)
    return path


@pytest.fixture(scope="session")
def write_run():
    """``write_run(folder, name=…, accuracy=…)``: a finished run that nobody trained; see below for the rest."""
    return _write_run


def _write_run(
    folder: Path,
    *,
    name: str,
    accuracy: float,
    classes: Sequence[str] = ("cat", "dog", "bird"),
    n: int = 200,
    first_index: int = 0,
    train_s: float = 60.0,
    epochs: int = 3,
    validated: bool = True,
    reported: str = "",
    device: str = "cpu",
    trained: int = 1000,
    seed: int = 0,
) -> dict:
    """Write what ``python -m jaxtl.main`` leaves behind, from random predictions, and return the summary.

    The test set depends on classes, n and first_index alone.
    """
    k = len(classes)
    labels = np.arange(n) % k
    # Images are hard or easy for every run alike, so that the runs are correlated as real ones are.
    hard = 0.7 * np.random.default_rng(99).random(n) + 0.3 * np.random.default_rng(seed).random(n)
    right = hard < np.quantile(hard, accuracy)
    shift = np.random.default_rng(seed + 1).integers(1, k, n)
    predicted = np.where(right, labels, (labels + shift) % k)
    confusion = np.zeros((k, k), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    scores = classification_scores(confusion)
    per_class = [{"class": c, **line} for c, line in zip(classes, scores.pop("per_class"), strict=True)]
    summary = {
        "name": name,
        "test": {**scores, "loss": 0.5, "n": n, "confusion_matrix": confusion.tolist(), "per_class": per_class},
        "time": {"compile_s": 1.0, "train_s": train_s, "inference_s": 0.5, "total_s": train_s + 2},
        "params": {"total": 123_456, "trainable": trained},
        "best_epoch": epochs,
        "epochs_run": epochs,
    }
    curve = scores["accuracy"] * (1 - 0.5 * np.exp(-np.arange(1, epochs + 1) / 3))
    with RunFolder(folder, {"name": name, "model": {"name": "cnn"}, "reported": reported}) as run:
        run.write_config({"device": device}, {"image_shape": (8, 8, 1), "class_names": list(classes)})
        run.write_history(
            [
                {
                    "phase": "all",
                    "epoch": e,
                    "train_accuracy": float(a),
                    "val_accuracy": float(a) if validated else None,
                }
                for e, a in enumerate(curve, start=1)
            ]
        )
        ids, blank = np.arange(n) + first_index, np.zeros((n, 1, 1, 1), np.uint8)
        images = Dataset(blank, np.asarray(labels, np.int32), tuple(classes), ids)
        run.write_predictions(images, predicted, np.full(n, 0.5))
        run.write_summary(summary)
    return json.loads(json.dumps(summary))


def edit(name, change):
    """A damage of a run folder: its JSON file ``name`` is changed in place by ``change``."""

    def damage(folder):
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return damage
