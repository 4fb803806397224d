"""`model.fallback`: weights that are at hand, where those of a config cannot be downloaded."""

import json
import pathlib

import pytest

from jaxtl.config import default_config, variants
from jaxtl.config import model as config_model
from jaxtl.config.build import tree_of
from jaxtl.config.flags import parse_config
from jaxtl.config.model import with_fallback
from jaxtl.errors import UserError
from jaxtl.runtime.command import CommandParser
from jaxtl.runtime.fetch import UnreachableError, fetch

MY_IMAGES = pathlib.Path(__file__).parents[2] / "configs" / "my_images.py"


@pytest.fixture
def reachable(monkeypatch):
    """Tags of the weights that can be had; the others are beyond the network."""
    tags = {"tiny_imagenet"}

    def card_file(card):
        if card.tag not in tags:
            raise UnreachableError(f"Cannot reach {card.file}; check the network.")
        return pathlib.Path(card.file)

    monkeypatch.setattr(config_model, "card_file", card_file)
    return tags


def config(**changes):
    tree = tree_of(default_config())
    tree["model"] |= {"name": "resnet18", "weights": "imagenet1k_v1", "fallback": "tiny_imagenet", **changes}
    tree["data"]["size"] = 224
    return tree


def test_the_fallback_takes_the_place_of_weights_beyond_the_network_and_says_so(reachable, tmp_path):
    changed, why = with_fallback(config(), tmp_path)
    assert changed == config(weights="tiny_imagenet") | {"data": {**config()["data"], "size": 64}}
    assert why.startswith(
        "Cannot reach resnet18-f37072fd.pth; check the network. This run starts from the weights tiny"
    )
    assert why.endswith("trained on Tiny ImageNet, and reads images as 64 x 64 pixels.")
    changed, why = with_fallback(config(), tmp_path, keep_size=True)
    assert changed["data"]["size"] == 224
    assert "224 x 224" in why


@pytest.mark.parametrize(
    "changes",
    [
        {"fallback": ""},
        {"weights": ""},
        {"weights": "source"},
        {"weights": "my.safetensors"},
        {"name": "resnet50"},  # for which there are no such weights
        {"new_head": False},  # the head is of other classes
    ],
)
def test_nothing_else_is_changed(reachable, tmp_path, changes):
    assert with_fallback(config(**changes), tmp_path) == (config(**changes), "")


def test_weights_that_can_be_had_are_taken(reachable, tmp_path):
    reachable.add("imagenet1k_v1")
    assert with_fallback(config(), tmp_path) == (config(), "")


def test_where_neither_is_there_the_first_is_asked_for(reachable, tmp_path):
    reachable.clear()
    with pytest.raises(UserError, match=r"resnet18-f37072fd\.pth"):
        with_fallback(config(), tmp_path)


def test_a_run_that_began_with_the_fallback_goes_on_with_it(reachable, tmp_path):
    changed, _ = with_fallback(config(), tmp_path)
    reachable.add("imagenet1k_v1")
    (tmp_path / "config.json").write_text(json.dumps({"config": variants(changed)[""]}))
    again, why = with_fallback(config(), tmp_path)
    assert again == changed
    assert "goes on with them" in why


def test_commands_take_it(reachable, tmp_path, capsys):
    for class_name in ("cat", "dog"):
        (tmp_path / class_name).mkdir()
        for i in range(60):
            (tmp_path / class_name / f"{i}.png").touch()

    def parsed(*flags):
        argv = ["--config", str(MY_IMAGES), f"--config.data.dir={tmp_path}", "--workdir", str(tmp_path / "run"), *flags]
        return parse_config(CommandParser(), argv)[0]

    tree = parsed()
    assert (tree["model"]["weights"], tree["data"]["size"]) == ("tiny_imagenet", 64)
    assert "This run starts from the weights tiny_imagenet instead" in capsys.readouterr().err
    assert parsed("--config.data.size=96")["data"]["size"] == 96
    assert parsed("--config.model.fallback=", "--config.data.size=96")["model"]["weights"] == "imagenet1k_v1"


def test_a_server_that_does_not_answer_is_told_from_a_wrong_file(tmp_path):
    with pytest.raises(UnreachableError, match="Cannot reach"):
        fetch("http://localhost:9/weights.pth", tmp_path / "weights.pth", sha256="0" * 8)
    with pytest.raises(UserError, match="not an http or https address") as info:
        fetch("ftp://localhost/weights.pth", tmp_path / "weights.pth")
    assert not isinstance(info.value, UnreachableError)
