import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.models.heads import adaptive_avg_pool
from jaxtl.models.layers import conv, he_fan_in_init, he_fan_out_init


def maps(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 7), (7, 5), (8, 9), (14, 14), (20, 6)])
@pytest.mark.parametrize("bins", [1, 7])
def test_adaptive_pool_averages_torchs_bins(size, bins):
    x = maps(2, *size, 3)
    expected = np.empty((2, bins, bins, 3))
    for i in range(bins):
        rows = slice(math.floor(i * size[0] / bins), math.ceil((i + 1) * size[0] / bins))
        for j in range(bins):
            columns = slice(math.floor(j * size[1] / bins), math.ceil((j + 1) * size[1] / bins))
            expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    np.testing.assert_allclose(adaptive_avg_pool(jnp.asarray(x), bins), expected, atol=1e-6)


def test_adaptive_pool_repeats_a_single_pixel_exactly():
    x = maps(1, 1, 1, 4)
    np.testing.assert_array_equal(adaptive_avg_pool(jnp.asarray(x), 7), np.broadcast_to(x, (1, 7, 7, 4)))


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 2), (7, 2)])
@pytest.mark.parametrize("image", [(8, 8), (7, 10)])
def test_convolutions_pad_as_in_pytorch(size, stride, image):
    x = maps(1, *image, 2)
    layer = conv(3, size, stride, kernel_init=he_fan_in_init, use_bias=False)
    variables = layer.init(jax.random.key(0), x)
    assert list(variables["params"]) == ["kernel"]
    kernel = np.asarray(variables["params"]["kernel"])
    padded = np.pad(x, ((0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)))
    expected = np.stack(
        [
            np.stack(
                [
                    np.einsum("bhwc,hwco->bo", padded[:, i : i + size, j : j + size], kernel)
                    for j in range(0, image[1], stride)
                ],
                axis=1,
            )
            for i in range(0, image[0], stride)
        ],
        axis=1,
    )
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-5)


@pytest.mark.parametrize(("init", "fan"), [(he_fan_in_init, 9 * 40), (he_fan_out_init, 9 * 90)])
def test_he_initialisers_have_variance_two_by_fan(init, fan):
    kernel = np.asarray(init(jax.random.key(0), (3, 3, 40, 90)))
    assert kernel.std() == pytest.approx(math.sqrt(2 / fan), rel=0.02)
    assert abs(kernel.mean()) < 0.02 * kernel.std()
