"""The network of cifar10-airbench: what it whitens, what it begins as, what it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.models.whitened_cnn import LEAST_VARIANCE, WHITEN, identity_init, whiten

IMAGES = np.random.default_rng(0).normal(size=(40, 9, 8, 3)).cumsum(1).cumsum(2).astype(np.float32) / 5


@pytest.fixture(scope="module")
def net():
    model = build_model("whitened_cnn", 5, widths=(8, 16), head={"bias": False})
    return model, whiten(jax.jit(model.init)(jax.random.key(0), IMAGES), IMAGES)


def test_the_first_layer_whitens_patches(net):
    model, variables = net
    maps = np.asarray(model.apply(variables, IMAGES, method="stages")[WHITEN])
    assert maps.shape == (40, 8, 7, 24)
    np.testing.assert_allclose(maps[..., 12:], -maps[..., :12], atol=1e-5)
    rows = maps[..., :12].reshape(-1, 12).astype(np.float64)
    covariance = rows.T @ rows / len(rows)
    patches = np.stack([IMAGES[:, i : 8 + i, j : 7 + j] for i in (0, 1) for j in (0, 1)], 3).reshape(-1, 12)
    values = np.linalg.eigvalsh(patches.T.astype(np.float64) @ patches / len(patches))[::-1]
    np.testing.assert_allclose(covariance, np.diag(values / (values + LEAST_VARIANCE)), atol=1e-3)


def test_whitening_touches_nothing_else(net):
    model, variables = net
    again = whiten(variables, 2 * IMAGES)
    assert not np.allclose(again["params"][WHITEN]["conv"]["kernel"], variables["params"][WHITEN]["conv"]["kernel"])
    assert all(again["params"][stage] is variables["params"][stage] for stage in model.stage_names if stage != WHITEN)


@pytest.mark.parametrize("outputs", [3, 5, 9])
def test_a_convolution_begins_as_the_identity_where_it_can(outputs):
    kernel = identity_init(jax.random.key(0), (3, 3, 5, outputs))
    x = jax.random.normal(jax.random.key(1), (2, 6, 7, 5))
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    same = min(5, outputs)
    np.testing.assert_array_equal(y[..., :same], x[..., :same])
    assert np.abs(y[..., same:]).max(initial=1) > 0.1
    bound = 1 / np.sqrt(9 * 5)
    assert np.abs(kernel[..., same:]).max(initial=0) <= bound


def test_the_forward_pass_written_out(net):
    model, variables = net
    params, stats = variables["params"], jax.tree.map(lambda leaf: leaf + 0.5, variables["batch_stats"])

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def norm(x, stage, name):
        stat = stats[stage][name]
        return (x - stat["mean"]) / np.sqrt(stat["var"] + 1e-5) + params[stage][name]["bias"]

    def gelu(x):
        return x * jax.scipy.stats.norm.cdf(x)

    x = model.apply(variables, IMAGES, method="stages")[WHITEN]
    x = gelu(x + params["stem"]["bias"])
    for stage in ("stage1", "stage2"):
        x = convolve(x, params[stage]["conv1"]["kernel"])
        B, H, W, C = x.shape
        x = x[:, : H // 2 * 2, : W // 2 * 2].reshape(B, H // 2, 2, W // 2, 2, C).max((2, 4))
        x = gelu(norm(x, stage, "norm1"))
        x = gelu(norm(convolve(x, params[stage]["conv2"]["kernel"]), stage, "norm2"))
    expected = x.max((1, 2)) @ params["head"]["linear"]["kernel"] / 9
    found = model.apply({"params": params, "batch_stats": stats}, IMAGES)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_its_parameters_are_those_of_airbench94():
    """1.97 million: Jordan's Conv and Linear layers, and the biases of six norms and of the first layer."""
    model = build_model("whitened_cnn", 10, head={"bias": False})
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256) + 4 * 3 * 24
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"])) == (
        convolutions + 2560 + 24 + 2 * (64 + 256 + 256)
    )


def test_a_group_without_channels_is_refused():
    with pytest.raises(UserError, match="widths"):
        build_model("whitened_cnn", 10, widths=())
