from pathlib import Path

import jax
import numpy as np
import pytest

import jaxtl
from jaxtl.errors import UserError
from jaxtl.models import native_size
from jaxtl.weights.__main__ import cells, markdown
from jaxtl.weights.cards import CARDS, card_for, weights_for
from jaxtl.weights.store import load


def test_every_network_of_torchvision_has_its_cards():
    def tags(name):
        return [card.tag for card in jaxtl.weights_for(name)]

    assert tags("resnet18") == ["imagenet1k_v1", "tiny_imagenet"]
    for name in ("resnet34", "densenet161", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16_bn"):
        assert tags(name) == ["imagenet1k_v1"]
    for name in ("densenet121", "densenet169", "densenet201", "vgg16", "vgg19"):
        assert tags(name) == ["imagenet1k_v1", "imagenet1k_keras", "imagenet1k_keras_notop"]
    for name in ("resnet50", "resnet101", "resnet152"):
        assert tags(name) == ["imagenet1k_v1", "imagenet1k_v2"]
        assert tags(f"{name}_v1") == ["imagenet1k_keras", "imagenet1k_keras_notop"]
    assert tags("densenet161_cifar") == ["cifar10_zoo"]
    assert tags("cifar_resnet20") == ["cifar10"]
    assert tags("bn_cnn") == []


def test_cards_agree_with_themselves():
    assert len({(card.model, card.tag) for card in CARDS}) == len(CARDS)
    for card in CARDS:
        assert card.input_size == (64 if card.tag == "tiny_imagenet" else native_size(card.model))
        assert (card.archive is None) == (card.digest is not None)  # what has no address lies in the clone
        assert card.url is None or card.digest is not None
        if card.sha256:
            assert len(card.sha256) == 8
            assert card.sha256 in card.file
            assert card.url is None or card.url.endswith("/" + card.file)
        assert card.md5 is None or len(card.md5) == 32
        assert (card.resize is None) == (card.interpolation is None)
        assert card.top1 is None or (48 if card.tag == "tiny_imagenet" else 50) < card.top1 < 100


def test_an_unknown_tag_is_answered_with_those_that_exist():
    assert card_for("resnet50", "imagenet1k_v2") is weights_for("resnet50")[1]
    with pytest.raises(UserError, match="it has: imagenet1k_v1, imagenet1k_v2, and a path"):
        card_for("resnet50", "imagenet1k_v3")


def test_the_table_of_the_readme_is_current():
    path = Path(__file__).parents[2] / "weights" / "README.md"
    table = markdown([cells(card, linked=True) for card in CARDS])
    assert table in path.read_text(), "put the output of python -m jaxtl.weights list --markdown into its place"


def test_the_clone_has_the_weights_that_this_project_trained():
    variables = load("resnet18", "tiny_imagenet")
    assert variables["params"]["head"]["linear"]["kernel"].shape == (512, 200)
    assert all(np.isfinite(leaf).all() and leaf.dtype == np.float32 for leaf in jax.tree.leaves(variables))
