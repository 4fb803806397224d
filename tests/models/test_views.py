"""Test-time augmentation: the scores of views, averaged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.models import build_model
from jaxtl.models.views import TEST_VIEWS, views_of

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 10, 3)), jnp.float32)


@pytest.fixture(scope="module")
def net():
    model = build_model("cnn", 4, blocks=((4,),), hidden=(8,))
    return model, jax.jit(model.init)(jax.random.key(0), IMAGES)


def shifted(image, y, x):
    wider = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    return wider[1 + y : 1 + y + image.shape[0], 1 + x : 1 + x + image.shape[1]]


def test_six_views_and_their_weights():
    views, weights = zip(*views_of(IMAGES, "mirror+shift"), strict=True)
    assert weights == (0.25, 0.125, 0.125) * 2
    for i, image in enumerate(np.asarray(IMAGES)):
        seen = [image, shifted(image, -1, -1), shifted(image, 1, 1)]
        np.testing.assert_array_equal([view[i] for view in views], seen + [view[:, ::-1] for view in seen])


@pytest.mark.parametrize("which", TEST_VIEWS)
def test_scores_are_the_weighted_mean_of_the_views(net, which):
    model, variables = net
    expected = sum(weight * model.apply(variables, view) for view, weight in views_of(IMAGES, which))
    np.testing.assert_allclose(model.clone(test_views=which).apply(variables, IMAGES), expected, rtol=1e-5, atol=1e-6)


def test_mirrored_images_have_the_same_scores(net):
    model, variables = net
    seen = model.clone(test_views="mirror")
    np.testing.assert_allclose(
        seen.apply(variables, IMAGES), seen.apply(variables, IMAGES[:, :, ::-1]), rtol=1e-5, atol=1e-6
    )
    assert not np.allclose(model.apply(variables, IMAGES), model.apply(variables, IMAGES[:, :, ::-1]), atol=1e-4)


def test_training_sees_the_image_alone(net):
    model, variables = net
    rngs = {"dropout": jax.random.key(1)}
    expected = model.apply(variables, IMAGES, train=True, rngs=rngs)
    found = model.clone(test_views="mirror+shift").apply(variables, IMAGES, train=True, rngs=rngs)
    np.testing.assert_array_equal(found, expected)
