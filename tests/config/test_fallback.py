"""`model.fallback`: weights that are at hand, where those of a config cannot be downloaded."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

import jaxtl
from jaxtl.config import check, default_config
from jaxtl.config import model as config_model
from jaxtl.config.model import at_hand
from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.report.compared_runs import read_run
from jaxtl.runtime.fetch import UnreachableError, fetch
from jaxtl.transfer.plans import linear_probe
from jaxtl.weights import cards, store
from jaxtl.weights.variables_file import save

FIRST, SECOND = "imagenet1k_v1", "tiny_imagenet"


@pytest.fixture
def reachable(monkeypatch):
    """Tags of the weights that can be had; the others are beyond the network."""
    tags = {SECOND}

    def card_file(card):
        if card.tag not in tags:
            raise UnreachableError(f"Cannot reach {card.file}; check the network.")
        return pathlib.Path(card.file)

    monkeypatch.setattr(config_model, "card_file", card_file)
    return tags


def settings(**changes):
    return {"name": "resnet18", "weights": FIRST, "fallback": SECOND, "new_head": True, **changes}


def test_the_fallback_takes_the_place_of_weights_beyond_the_network_and_says_so(reachable):
    weights, why = at_hand(settings(), FIRST)
    assert weights == SECOND
    assert why == (
        "Cannot reach resnet18-f37072fd.pth; check the network. In their place the run starts from tiny_imagenet, "
        "trained on Tiny ImageNet at 64 x 64 pixels."
    )


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({"fallback": ""}, FIRST),
        ({}, None),
        ({}, pathlib.Path("runs/source")),
        ({}, "my.safetensors"),
        ({}, SECOND),  # asked for by name
        ({"name": "resnet50"}, FIRST),  # for which there are no such weights
        ({"new_head": False}, FIRST),  # the head is of other classes
    ],
)
def test_nothing_else_is_changed(reachable, changes, weights):
    assert at_hand(settings(**changes), weights) == (weights, "")


def test_weights_that_can_be_had_are_taken(reachable):
    reachable.add(FIRST)
    assert at_hand(settings(), FIRST) == (FIRST, "")


def test_a_run_goes_on_with_the_weights_that_it_began_with(reachable):
    assert at_hand(settings(), FIRST, begun=FIRST) == (FIRST, "")
    reachable.add(FIRST)
    weights, why = at_hand(settings(), FIRST, begun=SECOND)
    assert weights == SECOND
    assert why == "The run began with the weights tiny_imagenet in place of imagenet1k_v1, and goes on with them."


def test_where_neither_is_here_both_are_named(cnn_cards):
    (store.IN_CLONE / "ours.safetensors").unlink()
    with pytest.raises(UserError) as info:
        at_hand(settings(name="cnn"), FIRST)
    assert str(info.value).startswith("Cannot reach http://localhost:9/theirs.pth")
    assert "Nor are the weights tiny_imagenet here, to start from instead. The weights" in str(info.value)


def test_a_misspelt_fallback_is_refused():
    config = default_config()
    config.model.fallback = "tiny_imagenett"
    [problem] = check(config)
    assert problem.startswith("model.fallback is 'tiny_imagenett'")
    assert "tiny_imagenet'" in problem


@pytest.fixture
def cnn_cards(monkeypatch, tmp_path):
    """Two cards of a small network: of one there is a file, the other one's address answers nobody."""
    base = cards.card_for("resnet18", FIRST)
    model = {"model": "cnn", "classes": 10, "input_size": 8, "sha256": None}
    ours = dataclasses.replace(base, **model, tag=SECOND, file="ours.safetensors", url=None)
    theirs = dataclasses.replace(
        base, **{**model, "sha256": "0" * 8}, file="theirs.pth", url="http://localhost:9/theirs.pth"
    )
    monkeypatch.setattr(cards, "CARDS", (theirs, ours))
    variables = build_model("cnn", 10).init(jax.random.key(3), np.zeros((1, 8, 8, 3)), train=False)
    monkeypatch.setattr(store, "IN_CLONE", tmp_path / "weights")
    save(variables, tmp_path / "weights" / "ours.safetensors")
    return theirs


def test_a_whole_run_and_what_it_leaves(cnn_cards, tmp_path, capsys):
    config = default_config()
    config.model.name, config.model.weights, config.model.fallback = "cnn", FIRST, SECOND
    config.data.validation, config.batch_size = 0.0, 8
    config.phases = linear_probe(1, keep="last")
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8), np.arange(16) % 10
    arguments = {"train": images, "test": images}
    first = jaxtl.run(config, tmp_path / "run", **arguments)
    [warning, *_] = first["data"]["warnings"]
    assert "Cannot reach http://localhost:9/theirs.pth" in warning
    assert "In their place the run starts from tiny_imagenet" in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "run" / "config.json").read_text())["start"] == SECOND
    assert warning in (tmp_path / "run" / "report" / "index.html").read_text()
    assert read_run(tmp_path / "run").settings["model.weights"] == SECOND
    named = config.copy_and_resolve_references()
    named.model.weights = SECOND
    assert jaxtl.run(named, tmp_path / "named", **arguments)["weights_sha256"] == first["weights_sha256"]
    # The same command finds its run finished, also where the fallback is another.
    config.model.fallback = ""
    assert jaxtl.run(config, tmp_path / "run", **arguments)["test"] == first["test"]
    with pytest.raises(UserError, match="Cannot reach"):
        jaxtl.run(config, tmp_path / "other", **arguments)


def test_a_connection_that_fails_is_told_from_what_is_wrong_with_an_address(tmp_path):
    with pytest.raises(UnreachableError, match="Cannot reach"):
        fetch("http://localhost:9/weights.pth", tmp_path / "weights.pth", sha256="0" * 8)
    with pytest.raises(UserError, match="not an http or https address") as info:
        fetch("ftp://localhost/weights.pth", tmp_path / "weights.pth")
    assert not isinstance(info.value, UnreachableError)
