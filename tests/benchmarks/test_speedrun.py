"""The seeds of speedrun94 and what is said of them; training itself is tested in tests/test_experiment.py."""

import json

import pytest

import jaxtl
from benchmarks import speedrun

ACCURACY = {0: 0.9412, 1: 0.9388, 2: 0.94}


@pytest.fixture
def asked(monkeypatch):
    """The configs that were run, each with a result made up from its seed."""
    configs = []

    def run(config, workdir, *, console):
        configs.append(config)
        test = {"accuracy": ACCURACY[config["seed"]], "n": 10_000}
        return {"test": test, "time": {"train_s": 2.0 + config["seed"], "compile_s": 9.0, "inference_s": 0.5}}

    monkeypatch.setattr(jaxtl, "run", run)
    return configs


def test_mean_and_range_of_the_seeds(asked, tmp_path, capsys):
    file = tmp_path / "speedrun.json"
    assert speedrun.main(["--seeds", "3", "--dtype", "bfloat16", "--json", str(file)]) == 0
    assert [config["seed"] for config in asked] == [0, 1, 2]
    assert {config["model"]["dtype"] for config in asked} == {"bfloat16"}
    out = capsys.readouterr().out
    assert "seed 1: 93.88 % (95 % interval 93.39 to 94.33), training 3 s" in out
    assert "mean 94.00 % (93.88 to 94.12), 2 of 3 reach 94%; training 3 s (2 s to 4 s)" in out
    assert [run["accuracy"] for run in json.loads(file.read_text())["runs"]] == list(ACCURACY.values())


def test_fewer_epochs_keep_the_shape_of_the_triangle(asked):
    assert speedrun.main(["--seeds", "1", "--epochs", "5"]) == 0
    (phase,) = asked[0]["phases"]
    assert (phase["epochs"], phase["warmup_epochs"]) == (5, pytest.approx(1.15))
