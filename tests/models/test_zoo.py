"""What all networks of the zoo have in common: counts, names, stages, sizes, gradients."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.models import build_model, list_models, native_size

# torchvision's for 1,000 classes.
IMAGENET = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
}
# Millions, as the README of PyTorch_CIFAR10 rounds them, and the table of He et al. 2015 for the option-A networks.
CIFAR = {
    "resnet18_cifar": "11.174",
    "resnet34_cifar": "21.282",
    "resnet50_cifar": "23.521",
    "vgg11_bn_cifar": "28.150",
    "vgg13_bn_cifar": "28.334",
    "vgg16_bn_cifar": "33.647",
    "vgg19_bn_cifar": "38.959",
    "densenet121_cifar": "6.956",
    "densenet161_cifar": "26.483",
    "densenet169_cifar": "12.493",
    "cifar_resnet20": "0.27",
    "cifar_resnet32": "0.46",
    "cifar_resnet44": "0.66",
    "cifar_resnet56": "0.85",
    "cifar_resnet110": "1.7",
}
ZOO = [name for name in list_models() if "cnn" not in name and name != "logistic_regression"]
SMALLEST = ["resnet18", "resnet50", "cifar_resnet20", "densenet121", "vgg11"]

# Networks of every kind of block that compile in a second.
MICRO = {
    "resnet18": {"depths": (1, 1), "width": 4},
    "resnet50_cifar": {"depths": (1, 1), "width": 4},
    "cifar_resnet20": {"depth": 8, "width": 4},
    "densenet121": {"depths": (1, 1), "growth": 4, "width": 6},
    "vgg11_bn": {"depths": (1, 1), "width": 4, "hidden": (8, 8)},
}


def classes_of(name: str) -> int:
    """As many as the published counts are for; one number a network, so that it is traced once."""
    return 1000 if name in IMAGENET else 10


@functools.cache
def shapes_of(name: str):
    model = build_model(name, classes_of(name))
    return jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))


def shapes_at(name: str, height: int, width: int):
    """The shapes of (logits, features, maps) for two images."""
    model = build_model(name, classes_of(name))

    def everything(variables, images):
        features, maps = (model.apply(variables, images, method=method) for method in ("features", "stages"))
        return model.apply(variables, images), features, maps

    images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    return jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(everything, shapes_of(name), images))


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_every_name_is_there():
    resnets = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
    vggs = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
    densenets = [f"densenet{depth}" for depth in (121, 161, 169, 201)]
    large = resnets + vggs + densenets
    of_keras = [f"resnet{depth}_v1" for depth in (50, 101, 152)]
    option_a = [f"cifar_resnet{depth}" for depth in (20, 32, 44, 56, 110)]
    assert sorted(ZOO) == sorted([*large, *of_keras, *(f"{name}_cifar" for name in large), *option_a])
    assert {name for name in list_models() if native_size(name) == 224} == {*large, *of_keras}
    assert set(large) == set(IMAGENET)
    assert {native_size(name) for name in list_models()} == {32, 224}
    assert list_models("densenet???") == ["densenet121", "densenet161", "densenet169", "densenet201"]


@pytest.mark.parametrize("name", IMAGENET)
def test_parameters_are_as_many_as_torchvisions(name):
    assert count(shapes_of(name)["params"]) == IMAGENET[name]


@pytest.mark.parametrize("name", CIFAR)
def test_parameters_of_small_networks_are_as_many_as_published(name):
    digits = len(CIFAR[name].split(".")[1])
    assert f"{count(shapes_of(name)['params']) / 1e6:.{digits}f}" == CIFAR[name]


@pytest.mark.parametrize("name", ZOO)
def test_stages_name_the_parameters(name):
    model = build_model(name, 10)
    hidden = ("hidden",) if "vgg" in name else ()
    last = 3 if name.startswith("cifar_resnet") else 4
    assert model.stage_names == ("stem", *(f"stage{i}" for i in range(1, last + 1)), *hidden, "head")
    assert set(shapes_of(name)["params"]) == set(model.stage_names)


@pytest.mark.parity
@pytest.mark.parametrize("name", SMALLEST)
@pytest.mark.parametrize("size", [(32, 32), (96, 96), (33, 47), (224, 75)])
def test_images_of_any_size_give_maps_features_and_logits(name, size):
    logits, features, maps = shapes_at(name, *size)
    assert logits == (2, classes_of(name))
    stages = build_model(name, 0).stage_names
    assert set(maps) == set(stages)
    assert maps["stem"][1] >= maps["stage1"][1] >= maps["stage2"][1] >= maps["stage3"][1] >= 1
    assert features == (2, maps[stages[-1]][-1])


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "stem", "last", "features"),
    [
        ("resnet18", (56, 56, 64), (7, 7, 512), 512),
        ("resnet50", (56, 56, 64), (7, 7, 2048), 2048),
        ("resnet18_cifar", (112, 112, 64), (14, 14, 512), 512),
        ("densenet121", (56, 56, 64), (7, 7, 1024), 1024),
        ("densenet161_cifar", (112, 112, 96), (14, 14, 2208), 2208),
        ("vgg16", (112, 112, 64), (7, 7, 512), 4096),
        ("cifar_resnet20", (224, 224, 16), (56, 56, 64), 64),
    ],
)
def test_maps_at_224_are_the_papers(name, stem, last, features):
    _, found, maps = shapes_at(name, 224, 224)
    deepest = "stage3" if name.startswith("cifar_resnet") else "stage4"
    assert (maps["stem"][1:], maps[deepest][1:]) == (stem, last)
    assert found == (2, features)


@pytest.mark.parametrize(
    ("name", "least"), [("vgg11", 32), ("vgg19_bn_cifar", 32), ("densenet121", 29), ("densenet121_cifar", 15)]
)
def test_smaller_images_are_refused_with_the_least_size(name, least):
    _, _, maps = shapes_at(name, least, least)
    assert maps["stage4"][1:3] == (1, 1)
    with pytest.raises(UserError, match=f"{least} x {least - 1} pixels.*at least {least} x {least}"):
        shapes_at(name, least, least - 1)


@pytest.mark.parametrize("name", ["resnet18", "resnet50_cifar", "cifar_resnet20"])
def test_residual_networks_take_a_single_pixel_as_torchvisions_do(name):
    assert shapes_at(name, 1, 1)[0] == (2, classes_of(name))


def drawn(shapes):
    """Variables of these shapes: drawn by numpy, because it takes longer to compile an initialisation."""
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            return rng.normal(0, math.sqrt(2 / math.prod(leaf.shape[:-1])), leaf.shape).astype(np.float32)
        low, high = (0.5, 1.5) if path[-1].key in ("scale", "var") else (-0.5, 0.5)
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(draw, shapes)


@functools.cache
def micro(name: str):
    """(model, variables, images) and, compiled at once, (logits, features, maps, gradient by parameters)."""
    model = build_model(name, 3, **MICRO[name])
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 18, 21, 3)), jnp.float32)
    variables = drawn(jax.eval_shape(model.init, jax.random.key(0), images))

    @jax.jit
    def everything(variables):
        def loss(params):
            given = {**variables, "params": params}
            features = model.apply(given, images, train=False, method="features")
            logits = model.apply(given, images, train=False)
            return logits.var(), (logits, features)

        grad, outputs = jax.grad(loss, has_aux=True)(variables["params"])
        return *outputs, grad

    return model, variables, images, everything(variables)


@pytest.mark.parametrize("name", MICRO)
def test_every_parameter_has_a_gradient(name):
    *_, (_, _, grad) = micro(name)
    for path, leaf in jax.tree.leaves_with_path(grad):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", MICRO)
def test_without_classes_a_network_gives_what_its_head_sees(name):
    _, variables, images, (logits, features, _) = micro(name)
    bare = build_model(name, 0, **MICRO[name])
    body = {kind: {k: v for k, v in tree.items() if k != "head"} for kind, tree in variables.items()}
    np.testing.assert_allclose(jax.jit(bare.apply)(body, images), features, rtol=1e-4, atol=1e-6)
    linear = variables["params"]["head"]["linear"]
    np.testing.assert_allclose(features @ linear["kernel"] + linear["bias"], logits, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet50_cifar", "densenet121", "vgg11_bn"])
def test_only_the_statistics_of_stages_in_training_change(name):
    model, variables, images, _ = micro(name)
    step = jax.jit(
        lambda stats: model.apply(
            {"params": variables["params"], "batch_stats": stats},
            images,
            train=("stage1", "head"),
            mutable=["batch_stats"],
        )[1]["batch_stats"]
    )
    stats = variables["batch_stats"]
    for _ in range(3):
        stats = step(stats)
    assert jax.tree.structure(stats) == jax.tree.structure(variables["batch_stats"])
    for path, after in jax.tree.leaves_with_path(stats):
        before = functools.reduce(lambda tree, key: tree[key.key], path, variables["batch_stats"])
        assert np.array_equal(before, after) == (path[0].key != "stage1"), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", MICRO)
def test_bfloat16_computes_near_float32(name):
    _, variables, images, (expected, _, _) = micro(name)
    half = build_model(name, 3, jnp.bfloat16, **MICRO[name])
    maps = jax.eval_shape(functools.partial(half.apply, method="stages"), variables, images)
    assert {leaf.dtype for leaf in maps.values()} == {jnp.dtype("bfloat16")}
    logits = jax.jit(half.apply)(variables, images)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cifar_resnet20", {"depth": 21}, "depth is 21.*6n"),
        ("densenet121", {"dropout": 1.5}, r"dropout of densenet121 is 1\.5.*\[0, 1\)"),
        ("vgg11", {"dropout": -1}, r"dropout of vgg11 is -1.*\[0, 1\)"),
        ("vgg11", {"bins": 0}, r"bins of vgg11 is 0.*1 or more"),
        ("resnet18", {"head": "mpl"}, "head is 'mpl'"),
        ("resnet18", {"depth": 3}, "has no option 'depth'; it has: .*depths"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        build_model(name, 10, **options)


def test_vgg_without_dense_layers_gives_the_studies_512_features():
    model = build_model("vgg16", 0, bins=1, hidden=())
    shapes = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((2, 64, 64, 3)))
    assert shapes[0].shape == (2, 512)
    assert "hidden" not in model.stage_names
