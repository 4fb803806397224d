import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.models.heads import Head, Hidden, flatten
from jaxtl.models.layers import ConvBlock, conv, relu, torch_init


@pytest.mark.parametrize("shape", [(3, 3, 16, 500), (400, 200)])
def test_kernels_are_drawn_as_torch_draws_them(shape):
    kernel = np.asarray(torch_init(1)["kernel_init"](jax.random.key(0), shape))
    bound = 1 / np.sqrt(np.prod(shape[:-1]))
    assert np.abs(kernel).max() <= bound
    assert np.abs(kernel).max() > 0.99 * bound
    assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)  # of a uniform distribution
    assert abs(kernel.mean()) < 0.02 * bound


def test_biases_are_drawn_as_torch_draws_them():
    bias = np.asarray(torch_init(25)["bias_init"](jax.random.key(0), (20_000,)))
    assert np.abs(bias).max() <= 0.2
    assert np.abs(bias).max() > 0.199
    assert bias.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.02)
    assert bias.dtype == np.float32


def test_layers_bound_their_biases_by_the_fan_in_of_their_kernels():
    # 4 inputs, many outputs: by a bias's own length (or the fan-out) the bound would be far smaller.
    block = ConvBlock((5000,), torch_init).init(jax.random.key(0), jnp.zeros((1, 2, 2, 4)), False)["params"]
    dense = Hidden((5000,)).init(jax.random.key(0), jnp.zeros((1, 4)), False)["params"]
    head = Head(500, hidden=(5000,)).init(jax.random.key(0), jnp.zeros((1, 4)), False)["params"]
    layers = ((block["conv1"], 36), (dense["linear1"], 4), (head["hidden1"], 4), (head["linear"], 5000))
    for params, fan_in in layers:
        for leaf in ("kernel", "bias"):
            assert 0.99 < np.abs(params[leaf]).max() * np.sqrt(fan_in) < 1.0001  # rounded


@pytest.mark.parametrize("size", [(6, 6), (5, 4)])
def test_a_convolution_pads_one_pixel_on_every_side(size):
    images = jax.random.normal(jax.random.key(0), (2, *size, 3))
    layer = conv(4, 3, bias_init=torch_init(27)["bias_init"])
    variables = layer.init(jax.random.key(1), images)
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = jax.lax.conv_general_dilated(
        padded, variables["params"]["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = layer.apply(variables, images)
    np.testing.assert_allclose(found, expected + variables["params"]["bias"], atol=1e-5)


@pytest.mark.parametrize("module", [ConvBlock((4,), torch_init, dtype=jnp.bfloat16), Hidden((4,), dtype=jnp.bfloat16)])
def test_bfloat16_is_for_computation_and_parameters_stay_float32(module):
    images = jnp.ones((1, 2, 2, 3))
    variables = module.init(jax.random.key(0), images, False)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert module.apply(variables, images, False).dtype == jnp.bfloat16


def test_flatten_runs_over_channels_fastest():
    np.testing.assert_array_equal(flatten(jnp.arange(24).reshape(2, 2, 2, 3)), np.arange(24).reshape(2, 12))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_relu_and_its_derivatives_are_those_of_flax(dtype):
    x = jnp.array([-jnp.inf, -2, -1e-30, -0.0, 0.0, 1e-30, 0.5, jnp.inf], dtype)
    tangent = jnp.arange(1, 9, dtype=dtype)

    def calculus(function):
        def gradient(x):
            return jax.vmap(jax.grad(lambda x: 3 * function(x) ** 2))(x)

        finite = x[1:-1]
        return jax.jvp(function, (x,), (tangent,)), jax.jvp(gradient, (finite,), (tangent[1:-1],))

    for found, wanted in zip(jax.tree.leaves(calculus(relu)), jax.tree.leaves(calculus(nn.relu)), strict=True):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.astype(np.float32), wanted.astype(np.float32))


def test_relu_passes_on_what_is_not_a_number():
    value, gradient = jax.value_and_grad(relu)(jnp.nan)
    assert np.isnan(value) and gradient == 1  # as PyTorch does; nn.relu hides it from the gradient
