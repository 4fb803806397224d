"""What JAX does to functions works on every family: forward mode, second derivatives, vmap, jit within jit, remat."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.models import build_model

FAMILIES = {
    "cnn": {"blocks": ((4,), (5,)), "hidden": (6,), "dropout": 0.0},
    "bn_cnn": {"blocks": ((4,), (5,)), "hidden": (6,), "norm": "after_conv", "dropout": 0.0},
    "resnet18": {"depths": (1, 1), "width": 4},
    "resnet50_cifar": {"depths": (1,), "width": 4},
    "cifar_resnet20": {"depth": 8, "width": 4},
    "densenet121": {"depths": (1, 2), "growth": 4, "width": 4},
    "vgg11": {"depths": (1, 1), "width": 4, "hidden": (6,), "bins": 1, "dropout": 0.0},
    "vgg11_bn": {"depths": (1, 1), "width": 4, "hidden": (), "bins": 1},
}
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(6, 12, 12, 3)), jnp.float32)


@pytest.fixture(params=FAMILIES)
def net(request, random_variables):
    """A small network of the family and its variables."""
    model = build_model(request.param, 3, **FAMILIES[request.param])
    return model, random_variables(model, IMAGES)


def loss_of(model, variables, images, train):
    """The mean of squared logits as a function of the parameters."""

    def loss(params):
        logits, _ = model.apply({**variables, "params": params}, images, train=train, mutable=["batch_stats"])
        return jnp.square(logits).mean()

    return loss


def inner(one, other):
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, one, other)))


def assert_close(found, wanted):
    """To 1e-5 of the largest of all: the bias of a convolution before batch norm has a gradient of rounding errors."""
    tolerance = 1e-5 * max(float(abs(leaf).max()) for leaf in jax.tree.leaves(wanted))
    for (path, leaf), want in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(leaf, want, rtol=0, atol=tolerance, err_msg=jax.tree_util.keystr(path))


def test_forward_mode_and_second_derivatives_in_training(net):
    model, variables = net
    loss = loss_of(model, variables, IMAGES, train=True)
    params = variables["params"]
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), params)

    def derivatives(params, direction):
        _, along = jax.jvp(loss, (params,), (direction,))
        gradient, forward_over_reverse = jax.jvp(jax.grad(loss), (params,), (direction,))
        reverse_over_reverse = jax.grad(lambda params: inner(jax.grad(loss)(params), direction))(params)
        return gradient, along, forward_over_reverse, reverse_over_reverse

    gradient, along, forward, reverse = jax.jit(derivatives)(params, direction)
    np.testing.assert_allclose(along, inner(gradient, direction), rtol=1e-4)
    assert_close(forward, reverse)
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(forward))


def test_gradients_of_each_example_jit_in_jit_and_remat(net):
    model, variables = net
    params = variables["params"]

    def of(images):
        return loss_of(model, variables, images, train=False)

    def gradients(params):
        each = jax.vmap(lambda image: jax.grad(of(image[None]))(params))(IMAGES)
        return {
            "vmap": jax.tree.map(functools.partial(jnp.mean, axis=0), each),
            "jit in jit": jax.jit(jax.grad(of(IMAGES)))(params),
            "remat": jax.grad(jax.checkpoint(of(IMAGES)))(params),
        }

    wanted = jax.jit(jax.grad(of(IMAGES)))(params)
    for found in jax.jit(gradients)(params).values():
        assert_close(found, wanted)
