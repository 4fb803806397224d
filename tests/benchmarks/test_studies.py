"""`benchmarks.studies`: the figures of both ways, and their ratio."""

import importlib.util
import json

import pytest

from benchmarks import studies

TINY = ["--model", "vgg11", "--images", "8", "--test-images", "4", "--size", "32", "--epochs", "1", "--batch", "4"]


@pytest.mark.bench
@pytest.mark.usefixtures("cifar10_dir", "no_pictures")
def test_ours(tmp_path, capsys, monkeypatch, cifar10_dir):
    monkeypatch.setenv("JAXTL_DATA", str(cifar10_dir))
    path, peer = tmp_path / "found.json", bool(importlib.util.find_spec("torchvision"))
    assert studies.main([*TINY, "--json", str(path)] + ["--peer", "torchvision"] * peer) == 0
    found = json.loads(path.read_text())
    ours = found["medians"]["jaxtl"]
    assert min(ours.values()) >= 0
    if peer:
        theirs = found["medians"]["PyTorch"]
        assert found["times_as_fast"]["train"] == pytest.approx(theirs["train_s"] / ours["train_s"])
    assert "training" in capsys.readouterr().out


def test_the_study_has_no_densenet(capsys):
    assert studies.main(["--model", "densenet121"]) == 2
    assert "resnet and vgg" in capsys.readouterr().err
