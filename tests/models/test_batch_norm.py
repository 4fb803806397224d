import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.models.layers import BatchNorm

IMAGES = np.random.default_rng(0).normal(3, 2, size=(2, 2, 1, 5)).astype(np.float32)


def torch_batch_norm(x, scale, bias, mean, var):
    """torch.nn.BatchNorm2d(momentum=0.1, eps=1e-5) in training, written out: (output, running mean, running var)."""
    x = x.astype(np.float64)
    axes = (0, 1, 2)
    out = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5) * scale + bias
    return out, 0.9 * mean + 0.1 * x.mean(axes), 0.9 * var + 0.1 * x.var(axes, ddof=1)


def variables(rng):
    scale, bias, mean, var = rng.uniform(0.5, 2, size=(4, 5)).astype(np.float32)
    return {"params": {"scale": scale, "bias": bias}, "batch_stats": {"mean": mean, "var": var}}


@pytest.mark.parametrize("n", [2, 4, 300])
def test_training_is_torchs_down_to_the_unbiased_running_variance(n):
    rng = np.random.default_rng(n)
    images = rng.normal(3, 2, size=(n, 1, 1, 5)).astype(np.float32)
    given = variables(rng)
    out, updates = BatchNorm(use_running_average=False).apply(given, images, mutable=["batch_stats"])
    expected = torch_batch_norm(images, **given["params"], **given["batch_stats"])
    for found, value in zip(
        (out, updates["batch_stats"]["mean"], updates["batch_stats"]["var"]), expected, strict=True
    ):
        np.testing.assert_allclose(found, value, rtol=2e-5, atol=2e-5)


def test_a_large_mean_costs_the_variance_no_digits():
    images = np.random.default_rng(0).normal(300, 0.5, size=(64, 4, 4, 5)).astype(np.float32)
    given = variables(np.random.default_rng(1))
    out, updates = BatchNorm(use_running_average=False).apply(given, images, mutable=["batch_stats"])
    expected, _, var = torch_batch_norm(images, **given["params"], **given["batch_stats"])
    np.testing.assert_allclose(out, expected, atol=2e-3)
    np.testing.assert_allclose(updates["batch_stats"]["var"], var, rtol=1e-4)


def test_inference_uses_the_running_statistics_and_leaves_them_bit_by_bit():
    given = variables(np.random.default_rng(1))
    out, updates = BatchNorm(use_running_average=True).apply(given, IMAGES, mutable=["batch_stats"])
    params, stats = given["params"], given["batch_stats"]
    expected = (IMAGES - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(out, expected, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, updates["batch_stats"], stats)


def test_a_single_value_has_no_variance():
    norm = BatchNorm(use_running_average=False)
    given = norm.init(jax.random.key(0), jnp.zeros((1, 1, 1, 5)))
    np.testing.assert_array_equal(given["batch_stats"]["var"], np.ones(5))
    with pytest.raises(UserError, match=r"one value a channel.*larger batch"):
        norm.apply(given, jnp.zeros((1, 1, 1, 5)), mutable=["batch_stats"])


def test_statistics_are_float32_where_maps_are_bfloat16():
    norm = BatchNorm(use_running_average=False, dtype=jnp.bfloat16)
    images = jnp.asarray(IMAGES, jnp.bfloat16)
    out, updates = norm.apply(norm.init(jax.random.key(0), images), images, mutable=["batch_stats"])
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
    var = 0.9 + 0.1 * np.var(np.asarray(images, np.float64), (0, 1, 2), ddof=1)
    np.testing.assert_allclose(updates["batch_stats"]["var"], var, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("shape", [(8, 3, 5, 6), (4, 1, 1, 2), (7, 3)])
def test_the_gradient_is_that_of_the_formula(shape, dtype, tolerance):
    rng = np.random.default_rng(0)
    x, grad = (jnp.asarray(rng.normal(1, 2, shape), dtype) for _ in range(2))
    scale, bias = (jnp.asarray(rng.uniform(0.5, 2, shape[-1]), jnp.float32) for _ in range(2))

    def formula(x, scale, bias):
        axes = tuple(range(x.ndim - 1))
        return (x - x.mean(axes)) / jnp.sqrt(x.var(axes) + 1e-5) * scale + bias

    norm = BatchNorm(use_running_average=False, dtype=dtype)
    stats = {"mean": jnp.zeros(shape[-1]), "var": jnp.ones(shape[-1])}

    def normalised(x, scale, bias):
        given = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
        return norm.apply(given, x, mutable=["batch_stats"])[0]

    out, vjp = jax.vjp(normalised, x, scale, bias)
    expected, expected_vjp = jax.vjp(formula, jnp.asarray(x, jnp.float32), scale, bias)
    found = (out, *vjp(grad))
    assert [leaf.dtype for leaf in found] == [x.dtype, x.dtype, scale.dtype, bias.dtype]
    for leaf, wanted in zip(found, (expected, *expected_vjp(jnp.asarray(grad, jnp.float32))), strict=True):
        np.testing.assert_allclose(np.asarray(leaf, np.float32), wanted, tolerance, 10 * tolerance)


def test_second_derivatives_are_those_of_the_formula():
    rng = np.random.default_rng(0)
    x, direction = (jnp.asarray(rng.normal(1, 2, (3, 2, 2, 2)), jnp.float32) for _ in range(2))
    given = {
        "params": {"scale": jnp.array([0.5, 2.0]), "bias": jnp.array([1.0, -1.0])},
        "batch_stats": {"mean": jnp.zeros(2), "var": jnp.ones(2)},
    }
    norm = BatchNorm(use_running_average=False)

    def ours(x):
        return (norm.apply(given, x, mutable=["batch_stats"])[0] ** 3).sum()

    def formula(x):
        axes = (0, 1, 2)
        y = (x - x.mean(axes)) / jnp.sqrt(jnp.square(x - x.mean(axes)).mean(axes) + 1e-5)
        return ((y * given["params"]["scale"] + given["params"]["bias"]) ** 3).sum()

    found, wanted = (jax.jvp(jax.grad(function), (x,), (direction,))[1] for function in (ours, formula))
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
