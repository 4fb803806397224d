import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.data.augment import normalise
from jaxtl.models import Classifier, build_model
from jaxtl.models.layers import global_avg_pool
from jaxtl.train.class_maps import class_maps, grad_cam, map_stage

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6, 4, 2)), jnp.float32)
CLASSES = jnp.array([0, 1, 2, 2, 0], jnp.int32)


def cam(model, variables, images, classes, stage):
    return jax.jit(functools.partial(grad_cam, model, stage=stage))(variables, images, classes)


class Convolution(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Conv(4, (3, 3), name="conv")(x)


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(3, name="linear")(x)


@pytest.fixture(scope="module")
def linear_net():
    """Convolution, global average pooling, linear layer: the networks that CAM is defined for."""
    model = Classifier((("stem", Convolution),), pool=global_avg_pool, head_factory=Linear)
    return model, model.init(jax.random.key(0), IMAGES)


@pytest.fixture(scope="module")
def net(random_variables):
    """Two blocks with batch norm and a dense stage, whose last maps are of 2 x 2 pixels at 8."""
    model = build_model("cnn", 3, blocks=((4,), (6,)), hidden=(8,), norm="after_conv", dropout=0.5)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(3, 8, 8, 1)), jnp.float32)
    return model, random_variables(model, images), images


def test_on_a_linear_network_it_is_cam(linear_net):
    model, variables = linear_net
    maps = np.asarray(model.apply(variables, IMAGES, train=False, method="stages")["stem"])
    kernel = np.asarray(variables["params"]["head"]["linear"]["kernel"])
    # Zhou et al. 2016: the class's weights of the linear layer times the maps; ReLU and scale are Grad-CAM's.
    expected = np.stack([image @ kernel[:, c] for image, c in zip(maps, np.asarray(CLASSES), strict=True)])
    expected = np.maximum(expected, 0) / expected.max((1, 2), keepdims=True)
    found = grad_cam(model, variables, IMAGES, CLASSES, "stem")
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.max((1, 2)), 1)


def test_where_nothing_speaks_for_a_class_the_map_is_zero(linear_net):
    model, variables = linear_net
    mute = jax.tree.map(jnp.zeros_like, variables)
    np.testing.assert_array_equal(cam(model, mute, IMAGES, CLASSES, "stem"), np.zeros((5, 6, 4)))


def test_images_do_not_touch_each_other(net):
    model, variables, images = net
    classes = jnp.array([2, 0, 1], jnp.int32)
    together = cam(model, variables, images, classes, "stage1")
    alone = [cam(model, variables, images[i : i + 1], classes[i : i + 1], "stage1")[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert together.shape == (3, 2, 2)


def test_the_last_stage_with_maps_large_enough_is_taken(net):
    model, variables, images = net
    stages = [map_stage(model, variables, images.shape, least) for least in (1, 2, 3, 4, 5)]
    assert stages == ["stage1", "stage1", "stem", "stem", None]
    assert map_stage(model, variables, images.shape) == "stem", "2 x 2 pixels show hardly a place"
    assert cam(model, variables, images, CLASSES[:3], "stem").shape == (3, 4, 4)


def test_maps_of_a_batch_are_those_of_the_last_stage_with_places(net):
    model, variables, _ = net
    images = np.random.default_rng(2).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    predicted, labels = np.array([0, 1, 2]), np.array([1, 1, 0])
    preprocess = normalise([0.5], [0.5])
    found = class_maps(model, variables, images, np.stack([predicted, labels]), preprocess)
    for maps, classes in zip(found, (predicted, labels), strict=True):
        expected = grad_cam(model, variables, preprocess(None, images), jnp.asarray(classes), "stem")
        np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_a_network_without_maps_has_none_to_show():
    model = build_model("logistic_regression", 3)
    images = np.zeros((5, 6, 4, 2), np.uint8)
    variables = model.init(jax.random.key(0), IMAGES)
    assert map_stage(model, variables, IMAGES.shape, 1) is None
    assert class_maps(model, variables, images, np.asarray(CLASSES)[None], normalise([0.5], [0.5])) is None


def test_the_rest_of_the_network_continues_from_any_stage(net):
    model, variables, images = net
    logits = model.apply(variables, images, train=False)
    for stage, maps in model.apply(variables, images, train=False, method="stages").items():
        np.testing.assert_allclose(model.apply(variables, maps, stage, method="from_stage"), logits, atol=1e-6)
