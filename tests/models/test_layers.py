import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.models.layers import (
    conv3x3,
    flatten,
    linear,
    torch_bias_init,
    torch_kernel_init,
)
from jaxtl.models.max_pool import max_pool_2x2, max_pool_3x3

DTYPES = [jnp.float32, jnp.bfloat16]


# The same pools by XLA's reduction over windows: size of the window, pixels of border.
XLAS = {
    pool: functools.partial(nn.max_pool, window_shape=(n, n), strides=(2, 2), padding=((border, border),) * 2)
    for pool, n, border in ((max_pool_2x2, 2, 0), (max_pool_3x3, 3, 1))
}


def maps(shape: tuple[int, ...], dtype: jnp.dtype, *, ties: bool) -> jax.Array:
    """Random maps; with ties, few values, so that almost every window holds its maximum more than once."""
    rng = np.random.default_rng(sum(shape))
    return jnp.asarray(rng.integers(-1, 2, shape) if ties else rng.normal(size=shape), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (1, 5, 7, 2), (3, 2, 3, 1)])  # even, odd both ways, one window
@pytest.mark.parametrize("pool", [max_pool_2x2, max_pool_3x3])
def test_max_pool_and_its_gradient_are_those_of_xla(pool, shape, ties, dtype):
    images = maps(shape, dtype, ties=ties)
    expected, expected_vjp = jax.vjp(XLAS[pool], images)
    pooled, vjp = jax.vjp(pool, images)
    weights = maps(pooled.shape, dtype, ties=False)  # a different gradient for every window
    assert pooled.dtype == dtype
    np.testing.assert_array_equal(pooled, expected)
    np.testing.assert_array_equal(pool(images), expected)  # undifferentiated, it is another function
    (grad,), (expected_grad,) = vjp(weights), expected_vjp(weights)
    assert grad.dtype == dtype
    # A pixel that several windows see adds their gradients, in whatever order.
    tolerance = 0 if pool is max_pool_2x2 else 4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(*(np.asarray(g, np.float32) for g in (grad, expected_grad)), tolerance, tolerance)


def test_max_pool_keeps_the_digits_of_float64():
    with jax.enable_x64(True):
        images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, 2)), jnp.float64)
        for pool in (max_pool_2x2, max_pool_3x3):
            np.testing.assert_array_equal(pool(images), XLAS[pool](images))


def test_max_pool_gives_the_gradient_of_a_tie_to_the_first_in_reading_order():
    grad = jax.grad(lambda x: max_pool_2x2(x).sum())(jnp.zeros((1, 2, 2, 1)))
    assert grad[0, :, :, 0].tolist() == [[1, 0], [0, 0]]
    grad = jax.grad(lambda x: max_pool_3x3(x).sum())(jnp.zeros((1, 4, 4, 1)))  # the border is never taken
    assert grad[0, :, :, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("shape", [(3, 3, 16, 500), (400, 200)])
def test_kernels_are_drawn_as_torch_draws_them(shape):
    kernel = np.asarray(torch_kernel_init(jax.random.key(0), shape))
    bound = 1 / np.sqrt(np.prod(shape[:-1]))
    assert np.abs(kernel).max() <= bound
    assert np.abs(kernel).max() > 0.99 * bound
    assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)  # of a uniform distribution
    assert abs(kernel.mean()) < 0.02 * bound


def test_biases_are_drawn_as_torch_draws_them():
    bias = np.asarray(torch_bias_init(25)(jax.random.key(0), (20_000,)))
    assert np.abs(bias).max() <= 0.2
    assert np.abs(bias).max() > 0.199
    assert bias.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.02)
    assert bias.dtype == np.float32


def test_layers_bound_their_biases_by_the_fan_in_of_their_kernels():
    # 4 inputs, many outputs: by a bias's own length (or the fan-out) the bound would be far smaller.
    conv = conv3x3(5000, 4, dtype=jnp.float32).init(jax.random.key(0), jnp.zeros((1, 2, 2, 4)))["params"]
    dense = linear(5000, 4, dtype=jnp.float32).init(jax.random.key(0), jnp.zeros((1, 4)))["params"]
    for params, fan_in in ((conv, 36), (dense, 4)):
        for leaf in ("kernel", "bias"):
            assert 0.99 < np.abs(params[leaf]).max() * np.sqrt(fan_in) <= 1


@pytest.mark.parametrize("size", [(6, 6), (5, 4)])
def test_conv3x3_pads_one_pixel_on_every_side(size):
    images = maps((2, *size, 3), jnp.float32, ties=False)
    conv = conv3x3(4, 3, dtype=jnp.float32)
    variables = conv.init(jax.random.key(1), images)
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = jax.lax.conv_general_dilated(
        padded, variables["params"]["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = conv.apply(variables, images)
    np.testing.assert_allclose(found, expected + variables["params"]["bias"], atol=1e-5)


@pytest.mark.parametrize("layer", [conv3x3, linear])
def test_bfloat16_is_for_computation_and_parameters_stay_float32(layer):
    images = jnp.ones((1, 2, 2, 3))
    module = layer(4, 3, dtype=jnp.bfloat16)
    variables = module.init(jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert module.apply(variables, images).dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_pool_before_the_bias_gives_the_bits_of_a_pool_after_it_and_takes_the_same_variables(dtype):
    keys = jax.random.split(jax.random.key(0), 2)
    images = jax.random.normal(keys[0], (4, 9, 8, 3))
    plain, pooled = (conv3x3(5, 3, dtype=jnp.dtype(dtype), pool=pool) for pool in (False, True))
    variables = plain.init(keys[1], images)
    chex.assert_trees_all_equal(pooled.init(keys[1], images), variables)

    def usual(variables):
        return max_pool_2x2(nn.relu(plain.apply(variables, images)))

    def ours(variables):
        return nn.relu(pooled.apply(variables, images))

    # By themselves, as a person calls them: within one program XLA may round a sum with the product before it.
    np.testing.assert_array_equal(jnp.float32(ours(variables)), jnp.float32(usual(variables)))
    weights = jax.random.normal(keys[0], (4, 4, 4, 5))
    found, expected = (jax.jit(jax.grad(lambda v, f=f: (f(v) * weights).sum()))(variables) for f in (ours, usual))
    rtol = 1e-5 if dtype == "float32" else 0.1  # other pixels of a tie, and sums in another order
    chex.assert_trees_all_close(found, expected, rtol=rtol, atol=rtol)


def test_flatten_runs_over_channels_fastest():
    np.testing.assert_array_equal(flatten(jnp.arange(24).reshape(2, 2, 2, 3)), np.arange(24).reshape(2, 12))
