"""Models that start from pretrained weights; from random ones and from runs, see the tests of training."""

import importlib

import jax
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import save_file

import jaxtl
from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.weights import from_torch, save, to_keras, to_torch
from jaxtl.weights.convert import skeleton

NAME = "cifar_resnet20"


def random_variables(name: str, classes: int, **options: object) -> dict:
    rng = np.random.default_rng(0)
    shapes = skeleton(name, classes, **options)
    drawn = {leaf: rng.normal(size=shape).astype(np.float32) for leaf, shape in shapes.items()}
    return traverse_util.unflatten_dict(drawn, sep="/")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Variables of ten classes, and the file that holds them."""
    path = tmp_path_factory.mktemp("weights") / "trained.safetensors"
    variables = random_variables(NAME, 10)
    save(variables, path)
    return variables, path


def create(path, num_classes, **options):
    return jaxtl.create_model(NAME, num_classes, weights=path, key=jax.random.key(7), **options)[1]


def same(found, expected) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, found, expected))


def refusal(*arguments, **options) -> str:
    with pytest.raises(UserError) as info:
        create(*arguments, **options)
    return str(info.value)


def backbone(variables):
    return {kind: {s: t for s, t in tree.items() if s != "head"} for kind, tree in variables.items()}


def test_a_head_of_the_same_classes_is_kept_unless_a_new_one_is_wanted(trained):
    variables, path = trained
    assert same(create(path, 10), variables)
    assert same(create(path, 10, new_head=False), variables)
    fresh = create(path, 10, new_head=True)
    assert same(backbone(fresh), backbone(variables))
    assert not same(fresh["params"]["head"], variables["params"]["head"])


def test_a_head_of_other_classes_starts_anew_unless_theirs_was_to_be_kept(trained):
    variables, path = trained
    fresh = create(path, 7)
    assert same(backbone(fresh), backbone(variables))
    init = build_model(NAME, 7).init
    head = jax.jit(lambda key: init(key, np.zeros((1, 32, 32, 3), np.float32))["params"]["head"])
    assert same(fresh["params"]["head"], head(jax.random.key(7)))
    assert "The weights have 10 classes and the model 7" in refusal(path, 7, new_head=False)


def test_a_head_of_another_shape_starts_anew(trained):
    variables, path = trained
    head = {"hidden": (5,)}
    fresh = create(path, 10, head=head)
    assert same(backbone(fresh), backbone(variables))
    shapes = jax.tree.map(np.shape, fresh["params"]["head"])
    assert shapes == {
        "hidden1": {"kernel": (64, 5), "bias": (5,)},
        "linear": {"kernel": (5, 10), "bias": (10,)},
    }
    assert "params/head/hidden1/kernel is missing" in refusal(path, 10, head=head, new_head=False)


def test_features_alone_leave_the_head_behind(trained):
    variables, path = trained
    model, found = jaxtl.create_model(NAME, 0, weights=path, key=jax.random.key(0))
    assert same(found, backbone(variables))
    assert model.apply(found, np.zeros((2, 32, 32, 3), np.float32)).shape == (2, 64)


def test_weights_without_a_head_give_a_new_one(trained, tmp_path):
    variables, _ = trained
    path = tmp_path / "headless.safetensors"
    save(backbone(variables), path)
    fresh = create(path, 10)
    assert same(backbone(fresh), backbone(variables))
    assert fresh["params"]["head"]["linear"]["kernel"].shape == (64, 10)
    assert "The weights have no head to keep" in refusal(path, 10, new_head=False)


def test_a_stage_that_an_option_leaves_away_is_left_behind(monkeypatch):
    """VGG without its dense layers, as in study E; narrow, because the real ones have 140 million parameters."""
    whole = random_variables("vgg11_bn", 1000, width=2, hidden=(5, 6))
    monkeypatch.setattr(importlib.import_module("jaxtl.create"), "load", lambda name, weights, weights_dir: whole)
    model, found = jaxtl.create_model(
        "vgg11_bn", 10, weights="imagenet1k_v1", key=jax.random.key(0), width=2, hidden=(), bins=1
    )
    assert model.stage_names == ("stem", "stage1", "stage2", "stage3", "stage4", "head")
    assert found["params"]["head"]["linear"]["kernel"].shape == (16, 10)
    for stage in model.stage_names[:-1]:
        assert same(found["params"][stage], whole["params"][stage])
    _, kept = jaxtl.create_model(
        "vgg11_bn", 1000, weights="imagenet1k_v1", key=jax.random.key(0), width=2, hidden=(5, 6)
    )
    assert same(kept, whole)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (NAME, {"width": 8, "head": {"hidden": (8,)}}),
        ("cnn", {"blocks": ((3,),), "hidden": (4,), "image_shape": (64, 48, 3)}),
        ("vgg11_bn", {"width": 2, "hidden": (), "bins": 1}),
    ],
)
def test_variables_of_ones_own_with_options_come_back(tmp_path, name, options):
    if name == "cnn":  # the only one whose variables depend on the size of the images
        _, made = jaxtl.create_model(name, 5, key=jax.random.key(0), **options)
    else:
        made = random_variables(name, 5, **options)
    save(made, tmp_path / "mine.safetensors")
    _, found = jaxtl.create_model(
        name, 5, weights=tmp_path / "mine.safetensors", new_head=False, key=jax.random.key(1), **options
    )
    assert same(found, made)


@pytest.mark.parametrize("hidden", [(), (5, 6)])
def test_a_torch_file_with_options_comes_back(tmp_path, hidden):
    options = {"width": 2, "hidden": hidden}
    whole = random_variables("vgg11", 10, **options) if hidden else random_variables("vgg11", 0, **options)
    save_file(to_torch("vgg11", whole, **options), tmp_path / "theirs.safetensors")
    _, found = jaxtl.create_model("vgg11", 0, weights=tmp_path / "theirs.safetensors", key=jax.random.key(0), **options)
    assert same(found, backbone(whole))
    if hidden:
        with pytest.raises(UserError, match=r"theirs.safetensors: .*has no place"):  # neither options nor defaults
            jaxtl.create_model(
                "vgg11", 0, weights=tmp_path / "theirs.safetensors", key=jax.random.key(0), width=2, hidden=()
            )


def test_the_number_of_classes_may_be_left_to_the_weights(trained, tmp_path):
    variables, path = trained
    model, found = jaxtl.create_model(NAME, weights=path, key=jax.random.key(0))
    assert same(found, variables)
    assert model.apply(found, np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 10)
    save(backbone(variables), tmp_path / "headless.safetensors")
    assert "has no head to take num_classes from" in refusal(tmp_path / "headless.safetensors", None)
    with pytest.raises(UserError, match="num_classes is missing"):
        jaxtl.create_model(NAME, key=jax.random.key(0))


@pytest.mark.parametrize("naming", ["torch", "keras", "npz"])
def test_the_convolutions_of_a_vgg_alone_are_enough_for_a_new_head(tmp_path, naming):
    """A file without any dense layer, by the names of torchvision or Keras; narrow, as above."""
    convolutions = random_variables("vgg16", 0, width=2, hidden=())
    path = tmp_path / ("features.npz" if naming == "npz" else "features.safetensors")
    arrays = (to_torch if naming == "torch" else to_keras)("vgg16", convolutions, width=2, hidden=())
    np.savez(path, **arrays) if naming == "npz" else save_file(arrays, path)

    def create(num_classes=10, **options):
        return jaxtl.create_model("vgg16", num_classes, weights=path, key=jax.random.key(7), width=2, **options)

    model, found = create(0, hidden=(), bins=1)  # without a warning
    assert model.stage_names[-1] == "stage4"
    assert same(found, convolutions)
    if naming == "torch":
        with pytest.warns(UserWarning, match="lacks the dense layers before the head: they start from random values"):
            _, found = create(new_head=True, hidden=(5, 6))
        assert same({stage: found["params"][stage] for stage in convolutions["params"]}, convolutions["params"])
        assert found["params"]["hidden"]["linear2"]["kernel"].std() > 0
        assert found["params"]["head"]["linear"]["kernel"].shape == (6, 10)
        with pytest.raises(UserError, match="lacks the dense layers before the head; pass new_head=True"):
            create(hidden=(5, 6))


def test_features_alone_have_no_head_to_keep(trained):
    assert "new_head=False keeps the weights' head, but num_classes=0 removes it" in refusal(
        trained[1], 0, new_head=False
    )


def test_weights_of_another_architecture_are_refused(trained):
    _, path = trained
    with pytest.raises(UserError, match="stage1/block4/conv1/kernel is missing"):
        jaxtl.create_model("cifar_resnet32", 10, weights=path, key=jax.random.key(0))
    assert "has shape" in refusal(path, 10, width=8)


def test_what_is_neither_tag_nor_file_is_named():
    assert "no such tag: the tags of cifar_resnet20 are: cifar10." in refusal("imagenet1k_v1", 10)


def test_double_precision_becomes_single(trained, tmp_path):
    variables, _ = trained
    path = tmp_path / "double.safetensors"
    save(from_torch(NAME, {k: v.astype(np.float64) for k, v in to_torch(NAME, variables).items()}), path)
    found = create(path, 10)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(found)} == {"float32"}
    assert same(found, variables)
