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
from jaxtl.config.build import with_defaults
from jaxtl.config.model import with_fallbacks
from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.report.compared_runs import read_run
from jaxtl.runtime.fetch import UnreachableError, fetch
from jaxtl.transfer.plans import linear_probe
from jaxtl.weights import cards, store
from jaxtl.weights.formats.safetensors_file import save

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


def config(size=224, **changes):
    tree = with_defaults({})
    tree["model"] |= {"name": "resnet18", "weights": FIRST, "fallback": SECOND, **changes}
    tree["data"]["size"] = size
    return tree


def test_the_fallback_takes_the_place_of_weights_beyond_the_network_and_says_so(reachable, tmp_path):
    runs, told = with_fallbacks({"": config(), "baselines.small": config(size=32)}, tmp_path)
    assert runs == {"": config(size=64, weights=SECOND), "baselines.small": config(size=32, weights=SECOND)}
    assert told[0] == (
        "Cannot reach resnet18-f37072fd.pth; check the network. In their place the run starts from tiny_imagenet, "
        "with images of 64 x 64 pixels."
    )
    assert len(told) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"fallback": ""},
        {"weights": ""},
        {"weights": "source"},
        {"weights": "my.safetensors"},
        {"weights": SECOND},  # asked for by name
        {"name": "resnet50"},  # for which there are no such weights
        {"new_head": False},  # the head is of other classes
    ],
)
def test_nothing_else_is_changed(reachable, changes, tmp_path):
    runs = {"": config(**changes)}
    assert with_fallbacks(runs, tmp_path) == (runs, [])


def test_weights_that_can_be_had_are_taken(reachable, tmp_path):
    reachable.add(FIRST)
    assert with_fallbacks({"": config()}, tmp_path) == ({"": config()}, [])


def test_a_run_goes_on_with_the_weights_that_it_began_with(reachable, tmp_path):
    def begun(kept):
        (tmp_path / "config.json").write_text(json.dumps({"config": kept}))
        return with_fallbacks({"": config()}, tmp_path)

    assert begun(config()) == ({"": config()}, [])  # the network is gone since
    assert begun(config(weights="other")) == ({"": config()}, [])  # another run, which will be refused
    reachable.add(FIRST)
    runs, told = begun(config(size=64, weights=SECOND))
    assert runs == {"": config(size=64, weights=SECOND)}
    assert told == ["The run began with the weights tiny_imagenet in place of imagenet1k_v1, and goes on with them."]


def test_where_neither_is_here_both_are_named(cnn_cards, tmp_path):
    (store.IN_CLONE / "ours.safetensors").unlink()
    with pytest.raises(UserError) as info:
        with_fallbacks({"": config(name="cnn")}, tmp_path)
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


@pytest.mark.usefixtures("no_pictures", "compiled_once")
def test_a_whole_run_and_what_it_leaves(cnn_cards, tmp_path, monkeypatch, capsys):
    config = default_config()
    config.model.name, config.model.weights, config.model.fallback = "cnn", FIRST, SECOND
    config.data.validation, config.batch_size = 0.0, 8
    config.phases = linear_probe(1, keep="last")
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8), np.arange(16) % 10
    arguments = {"train": images, "test": images}
    first = jaxtl.run(config, tmp_path / "run", seeds=[3, 4], **arguments)
    printed = " ".join(capsys.readouterr().out.split())
    assert "Cannot reach http://localhost:9/theirs.pth" in printed
    assert "In their place the run starts from tiny_imagenet" in printed
    run = tmp_path / "run" / "seed3"
    assert "It started from its fallback, the weights tiny_imagenet" in (run / "report" / "index.html").read_text()
    assert read_run(run).settings["model.weights"] == SECOND
    named = config.copy_and_resolve_references()
    named.seed, named.model.weights = 3, SECOND
    same = jaxtl.run(named, tmp_path / "named", **arguments)
    assert same["weights_sha256"] == json.loads((run / "summary.json").read_text())["weights_sha256"]
    # Once the network is back, the same command goes on with the runs as they began.
    monkeypatch.setattr(config_model, "card_file", lambda card: tmp_path)
    (tmp_path / "run" / "seed4" / "summary.json").unlink()
    assert jaxtl.run(config, tmp_path / "run", seeds=[3, 4], **arguments)["repeated"] == first["repeated"]
    monkeypatch.setattr(config_model, "card_file", store.card_file)
    config.model.fallback = ""
    with pytest.raises(UserError, match="Cannot reach"):
        jaxtl.run(config, tmp_path / "other", **arguments)


def test_a_connection_that_fails_is_told_from_what_is_wrong_with_an_address(tmp_path):
    with pytest.raises(UnreachableError, match="Cannot reach"):
        fetch("http://localhost:9/weights.pth", tmp_path / "weights.pth", sha256="0" * 8)
    with pytest.raises(UserError, match="not an http or https address") as info:
        fetch("ftp://localhost/weights.pth", tmp_path / "weights.pth")
    assert not isinstance(info.value, UnreachableError)
