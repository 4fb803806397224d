"""Every config that starts from pretrained weights runs: an epoch a phase, on a handful of small images.

Random weights of the right structure stand in for the pretrained ones. What is under test is that data, network,
weights, plan and report of a config fit each other; no figure of these runs means anything. Networks of more
than 100 layers take minutes: they are cut to two layers a stage, and `make test-configs` runs them whole too, and the
configs that differ little from another.
"""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util

import jaxtl
from jaxtl.config.flags import load_config, override
from jaxtl.data.catalogue import DATASETS
from jaxtl.data.dataset import Dataset
from jaxtl.models import model_options
from jaxtl.train.checkpoint import read_best
from jaxtl.weights.cards import card_for
from jaxtl.weights.convert import skeleton

FOLDER = Path(__file__).parents[1] / "configs"
NAMES = (
    *("resnet18", "densenet121", "densenet161", "densenet161_steplr", "resnet18_lightning", "resnet18_random"),
    *("resnet50_gradual", "vgg16", "vgg19", "resnet50", "resnet152"),
)

# What fits into the minutes of `make test`; the others run in `make test-configs`.
QUICK = ("vgg16",)
DEEP = ("densenet121", "densenet161", "densenet161_steplr", "resnet152")

both_recipes = pytest.mark.parametrize("recipe", ["replica", "best"])
pytestmark = pytest.mark.usefixtures("compiled_once", "no_pictures")


@pytest.fixture
def workdir(tmp_path):
    """A work folder that goes after the test: deep networks leave half a gigabyte of checkpoints."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path)


def few_images(split: str, *_: object, **__: object) -> Dataset:
    """Eight noisy images of four classes, two of each, in place of CIFAR-10."""
    rng = np.random.default_rng(["train", "test"].index(split))
    labels = np.repeat(np.arange(4, dtype=np.int32), 2)
    return Dataset(rng.integers(0, 256, (8, 32, 32, 3), np.uint8), labels, DATASETS["cifar10"].class_names)


@functools.lru_cache(maxsize=1)  # the tests of a network follow each other, and it has up to 140 million parameters
def stand_in(name: str, tag: str, depths: tuple[int, ...]) -> dict:
    """Variables like those of the card: He's variance in convolutions, norms that change nothing, dense layers of 0.

    The first convolution expects what the card's normalisation gives: Keras's divides by no deviation.
    """
    rng, card = np.random.default_rng(0), card_for(name, tag)
    of_images = min(1.0, 4 * float(np.mean(card.std)))

    def leaf(path: str, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) == 4:
            scale = of_images if shape[2] == 3 else 1.0
            return rng.standard_normal(shape, np.float32) * np.float32(scale * (2 / np.prod(shape[:3])) ** 0.5)
        return np.ones(shape, np.float32) if path.endswith(("/scale", "/var")) else np.zeros(shape, np.float32)

    shapes = skeleton(name, card.classes, depths=depths)
    return traverse_util.unflatten_dict({path: leaf(path, shape) for path, shape in shapes.items()}, sep="/")


def shortened(config: dict) -> dict:
    """The config as a command line would shorten it: few and small images, an epoch a phase."""
    size = "40" if config["data"]["size"] else "0"  # still to be resized
    changes = {"data.subset": "8", "data.test_subset": "8", "data.size": size, "batch_size": "4"}
    if config["data"]["validation"]:
        changes["data.validation"] = "0.5"
    for i in range(len(config["phases"])):
        changes |= {f"phases.{i}.epochs": "1", f"phases.{i}.warmup_epochs": "0"}
    assert override(config, changes.items()) == []
    return config


def run(config: dict, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the config and look at what every run must leave behind."""
    name, start = config["model"]["name"], config["model"]["weights"]
    depths = config["model"]["options"].get("depths") or model_options(name)["depths"]
    asked = []

    def load(*what: str, **_: object) -> dict:
        asked.append(what)
        return stand_in(*what, depths)

    monkeypatch.setattr("jaxtl.create.load", load)
    assert config["data"]["name"] == "cifar10"
    monkeypatch.setitem(DATASETS, "cifar10", dataclasses.replace(DATASETS["cifar10"], load=few_images))
    summary = jaxtl.run(config, workdir)

    assert asked == ([(name, start)] if start else [])
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["+".join(phase["train"]) for phase in config["phases"]]
    assert summary["epochs_run"] == len(config["phases"])
    assert summary["test"]["n"] == 8 and np.isfinite(summary["test"]["loss"])
    assert (workdir / "report" / "index.html").is_file()

    kept = read_best(workdir / "checkpoints")
    trained = {stage for phase in config["phases"] for stage in phase["train"]}
    drift = any(phase["frozen_batch_norm"] == "train" for phase in config["phases"])
    for kind, trees in kept.items() if start else ():
        for stage in trees.keys() - {"head"}:
            before = stand_in(name, start, depths)[kind][stage]
            same = jax.tree.all(jax.tree.map(np.array_equal, trees[stage], before))
            assert same == (trained.isdisjoint({stage, "all"}) and not (drift and kind == "batch_stats")), (kind, stage)


@both_recipes
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.deep) for name in NAMES]
)
def test_it_runs_from_its_weights_to_its_report(name, recipe, workdir, monkeypatch):
    config = shortened(load_config(f"{FOLDER / name}.py:{recipe}"))
    if name in DEEP:
        config["model"]["options"]["depths"] = (2, 2, 2, 2)
    run(config, workdir, monkeypatch)


@pytest.mark.deep
@both_recipes
@pytest.mark.parametrize("name", DEEP)
def test_it_runs_at_full_depth(name, recipe, workdir, monkeypatch):
    run(shortened(load_config(f"{FOLDER / name}.py:{recipe}")), workdir, monkeypatch)
