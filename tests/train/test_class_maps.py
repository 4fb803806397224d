import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.models import Classifier, build_model
from jaxtl.models.layers import global_avg_pool
from jaxtl.train.class_maps import grad_cam, last_spatial_stage, spatial_stages

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6, 4, 2)), jnp.float32)
CLASSES = jnp.array([0, 1, 2, 2, 0], jnp.int32)


def cam(model, variables, images, classes, stage=None):
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
    found = grad_cam(model, variables, IMAGES, CLASSES)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.max((1, 2)), 1)


def test_where_nothing_speaks_for_a_class_the_map_is_zero(linear_net):
    model, variables = linear_net
    mute = jax.tree.map(jnp.zeros_like, variables)
    np.testing.assert_array_equal(cam(model, mute, IMAGES, CLASSES), np.zeros((5, 6, 4)))


def test_images_do_not_touch_each_other(net):
    model, variables, images = net
    classes = jnp.array([2, 0, 1], jnp.int32)
    together = cam(model, variables, images, classes)
    alone = [cam(model, variables, images[i : i + 1], classes[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert together.shape == (3, 2, 2)


def test_the_last_stage_with_places_is_taken_whatever_its_name(net):
    model, variables, images = net
    assert spatial_stages(model, variables, images.shape) == ("stem", "stage1")
    assert last_spatial_stage(model, variables, images.shape, least=4) == "stem", "2 x 2 pixels show hardly a place"
    assert last_spatial_stage(model, variables, images.shape, least=5) is None
    found = {stage: cam(model, variables, images, CLASSES[:3], stage) for stage in (None, "stage1", "stem")}
    np.testing.assert_array_equal(found[None], found["stage1"])
    assert found["stem"].shape == (3, 4, 4)
    # At 4 pixels the second block leaves one: no place to tell from another.
    small = build_model("cnn", 3, blocks=((4,), (6,)), hidden=())
    shapes = jax.eval_shape(small.init, jax.random.key(0), images[:, :4, :4])
    assert last_spatial_stage(small, shapes, (1, 4, 4, 1)) == "stem"


@pytest.mark.parametrize("stage", ["hidden", "head", "stage7"])
def test_a_stage_without_places_is_refused_with_those_that_have_some(net, stage):
    model, variables, images = net
    with pytest.raises(UserError, match=rf"{stage}.*choose of: stem, stage1"):
        grad_cam(model, variables, images, CLASSES[:3], stage=stage)


def test_a_network_without_maps_has_none_to_show():
    model = build_model("logistic_regression", 3)
    variables = model.init(jax.random.key(0), IMAGES)
    assert last_spatial_stage(model, variables, IMAGES.shape) is None
    with pytest.raises(UserError, match="no place to show"):
        grad_cam(model, variables, IMAGES, CLASSES)


def test_the_rest_of_the_network_continues_from_any_stage(net):
    model, variables, images = net
    logits = model.apply(variables, images, train=False)
    for stage, maps in model.apply(variables, images, train=False, method="stages").items():
        np.testing.assert_allclose(model.apply(variables, maps, stage, method="from_stage"), logits, atol=1e-6)
    with pytest.raises(UserError, match="no stage 'head' to go on from; it has: stem, stage1, hidden"):
        model.apply(variables, logits, "head", method="from_stage")
