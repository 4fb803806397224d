"""Runs, arms of a comparison, seeds and trials that share a backbone and images make one pass of the backbone."""

import pytest

import jaxtl
from jaxtl.config.flags import load_config
from jaxtl.search.__main__ import main as search
from jaxtl.train.extract import Extractor
from jaxtl.transfer.plans import linear_probe

pytestmark = pytest.mark.usefixtures("compiled_once", "no_pictures")

PROBE = """
from jaxtl.config import default_config
from jaxtl.transfer.plans import linear_probe

def get_config():
    config = default_config()
    config.data.name = "digits"
    config.data.subset = 200
    config.data.test_subset = 100
    config.model.options = {{"blocks": ((4,),), "hidden": (8,)}}
    config.model.weights = {weights!r}
    config.batch_size = 32
    config.phases = linear_probe(1)
    config.keep_features_gb = 0.1
    return config
"""


@pytest.fixture
def passes(monkeypatch, tmp_path):
    """The number of images of every pass of a backbone."""
    monkeypatch.setenv("JAXTL_CACHE", str(tmp_path / "cache"))
    extract, made = Extractor.extract, []

    def counted(self, variables, dataset, *details):
        made.append(len(dataset))
        return extract(self, variables, dataset, *details)

    monkeypatch.setattr(Extractor, "extract", counted)
    return made


@pytest.mark.processes
def test_one_pass_serves_arms_seeds_and_trials(tiny_config, tmp_path, passes):
    jaxtl.run(load_config(tiny_config), tmp_path / "backbone")
    path = tmp_path / "probe.py"
    path.write_text(PROBE.format(weights=str(tmp_path / "backbone")))
    config = load_config(path)
    config["baselines"] = {"fast": {"phases": linear_probe(1, learning_rate=0.1)}}
    jaxtl.run(config, tmp_path / "arms")
    assert sorted(passes) == [20, 100, 180], "validation, test and training images, by one of the two arms"
    jaxtl.run({**load_config(path), "seed": 1}, tmp_path / "seed")
    space = "phases.0.learning_rate=log:1e-3..1e-1"
    arguments = ["--config", path, "--workdir", tmp_path / "search", "--space", space, "--trials", 3]
    assert search([str(argument) for argument in arguments]) == 0
    assert len(passes) == 3, "another seed of the head, three trials and the best one's test made none"
