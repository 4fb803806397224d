import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.models.batch_norm import BatchNorm, batch_statistics, channel_mean, join_statistics, normalise_batch

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

    out, vjp = jax.vjp(lambda x, *given: normalise_batch(x, *given, batch_statistics(x), 1e-5), x, scale, bias)
    expected, expected_vjp = jax.vjp(formula, jnp.asarray(x, jnp.float32), scale, bias)
    found = (out, *vjp(grad))
    assert [leaf.dtype for leaf in found] == [x.dtype, x.dtype, scale.dtype, bias.dtype]
    for leaf, wanted in zip(found, (expected, *expected_vjp(jnp.asarray(grad, jnp.float32))), strict=True):
        np.testing.assert_allclose(np.asarray(leaf, np.float32), wanted, tolerance, 10 * tolerance)


def test_the_mean_of_many_values_is_rounded_little():
    x = np.random.default_rng(0).normal(3, 1, (128, 16, 16, 8)).astype(np.float32)
    found = channel_mean(jnp.asarray(x), corrected=True)
    np.testing.assert_allclose(found, x.mean((0, 1, 2), dtype=np.float64), atol=2e-6)


@pytest.mark.parametrize("options", [{"axis": 1}, {"use_bias": False}, {"axis_name": "data"}])
def test_what_it_cannot_do_is_refused(options):
    norm = BatchNorm(use_running_average=False, **options)
    with pytest.raises(UserError, match=r"flax\.linen\.BatchNorm"):
        norm.apply(norm.init(jax.random.key(0), IMAGES), IMAGES, mutable=["batch_stats"])


def test_without_a_scale_it_is_that_of_ones():
    given = variables(np.random.default_rng(3))
    given["params"]["scale"] = np.ones(5, np.float32)
    bias = {"params": {"bias": given["params"]["bias"]}, "batch_stats": given["batch_stats"]}
    for average in (True, False):
        expected = BatchNorm(use_running_average=average).apply(given, IMAGES, mutable=["batch_stats"])
        found = BatchNorm(use_running_average=average, use_scale=False).apply(bias, IMAGES, mutable=["batch_stats"])
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_statistics_of_concatenated_maps_are_those_of_the_parts():
    one, other = np.random.default_rng(0).normal(2, 3, (2, 8, 3, 5, 4)).astype(np.float32)
    joined = join_statistics(batch_statistics(one), batch_statistics(other[..., :3]))
    both = np.concatenate([one, other[..., :3]], -1).astype(np.float64)
    np.testing.assert_allclose(joined.mean, both.mean((0, 1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(joined.var, both.var((0, 1, 2)), rtol=1e-5)


def test_statistics_that_are_known_change_neither_values_nor_gradients():
    x = jnp.asarray(np.random.default_rng(0).normal(1, 2, (8, 3, 5, 5)), jnp.float32)
    given = variables(np.random.default_rng(4))
    norm = BatchNorm(use_running_average=False)

    def loss(known):
        def of(x, params):
            statistics = batch_statistics(x) if known else None
            tree = {**given, "params": params}
            out, updates = norm.apply(tree, x, statistics, mutable=["batch_stats"])
            return (out**3).sum(), updates

        return jax.value_and_grad(of, (0, 1), has_aux=True)(x, given["params"])

    jax.tree.map(np.testing.assert_array_equal, loss(True), loss(False))
