"""Layers that the families share: PyTorch's initialisers, convolutions, batch norm and pooling."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxtl.models.batch_norm import BatchNorm
from jaxtl.models.convolution import convolve
from jaxtl.models.matmul import dense_dot
from jaxtl.models.max_pool import max_pool_2x2

Initializer = Callable[..., jax.Array]

# PyTorch's default for linear and convolutional kernels, U(-1/sqrt(fan_in), 1/sqrt(fan_in)): the source is
# kaiming_uniform_(a=sqrt(5)) in torch.nn.modules.linear, rewritten as a variance: (1/3) / fan_in.
torch_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

# He et al. 2015, https://arxiv.org/abs/1502.01852: variance 2 / fan keeps the scale of maps (fan-in) or of gradients
# (fan-out) through a ReLU. torchvision draws ResNet and VGG by fan-out, DenseNet by fan-in.
he_fan_in_init = nn.initializers.variance_scaling(2, "fan_in", "normal")
he_fan_out_init = nn.initializers.variance_scaling(2, "fan_out", "normal")


def torch_bias_init(fan_in: int) -> Initializer:
    """PyTorch's default for biases: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), where ``fan_in`` is the kernel's."""
    bound = 1 / math.sqrt(fan_in)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def convolve_and_pool(*arguments: Any, **options: Any) -> jax.Array:
    """``convolve`` and a 2x2 max-pool, to be injected where ``convolve`` is: the bias is then added to fewer pixels.

    Where convolution, bias and pool are operations of their own, as on a CPU, the values are those of the usual order
    to the last bit: rounding keeps order, so that ``max(x) + b`` is ``max(x + b)``, and a ReLU may follow the pool for
    the same reason. Only of pixels that the bias makes equal by rounding another one may take the gradient.
    """
    return max_pool_2x2(convolve(*arguments, **options))


def conv3x3(
    features: int, in_features: int, *, dtype: DTypeLike, pool: bool = False, name: str | None = None
) -> nn.Conv:
    """A 3x3 convolution, stride 1, padding 1, with bias, initialised as PyTorch does.

    A 2x2 max-pool comes before the bias if ``pool`` says so.

    Padding is given in pixels and not as ``"SAME"``, which differs from PyTorch at even sizes and strides.
    """
    return nn.Conv(
        features,
        (3, 3),
        padding=((1, 1), (1, 1)),
        dtype=dtype,
        kernel_init=torch_kernel_init,
        bias_init=torch_bias_init(9 * in_features),
        conv_general_dilated=convolve_and_pool if pool else convolve,
        name=name,
    )


def linear(
    features: int, in_features: int, *, dtype: DTypeLike, use_bias: bool = True, name: str | None = None
) -> nn.Dense:
    """A dense layer, initialised as PyTorch does."""
    return nn.Dense(
        features,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=torch_kernel_init,
        bias_init=torch_bias_init(in_features),
        dot_general=dense_dot,
        name=name,
    )


def conv(
    features: int,
    size: int,
    stride: int = 1,
    *,
    kernel_init: Initializer,
    dtype: DTypeLike,
    use_bias: bool = False,
    pool: bool = False,
    name: str | None = None,
) -> nn.Conv:
    """A square convolution of odd size that keeps ``ceil(H / stride)`` rows, padded by ``size // 2`` as in PyTorch.

    A 2x2 max-pool comes before the bias if ``pool`` says so.

    Padding is given in pixels and not as ``"SAME"``: at even sizes and stride 2 that pads the other side.
    """
    border = (size // 2, size // 2)
    return nn.Conv(
        features,
        (size, size),
        stride,
        padding=(border, border),
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=kernel_init,
        conv_general_dilated=convolve_and_pool if pool else convolve,
        name=name,
    )


def conv_norm(
    x: jax.Array,
    features: int,
    size: int,
    stride: int = 1,
    *,
    names: tuple[str, str],
    kernel_init: Initializer,
    use_bias: bool = False,
    train: bool,
    folded: bool,
    pool: bool = False,
    dtype: DTypeLike,
) -> jax.Array:
    """A convolution and the batch norm that follows it, made in the scope of the calling module.

    Args:
      x: ``[B, H, W, C]``.
      features: output channels.
      size: height and width of the kernel, odd.
      stride: rows and columns from one output pixel to the next.
      names: names of the convolution and of the norm among the caller's parameters.
      kernel_init: initialiser of the kernel.
      use_bias: the convolution has a bias of its own, as VGG's do.
      train: use and update the batch's statistics.
      folded: leave the norm away and give the convolution a bias to hold it; see ``jaxtl.models.fold``.
      pool: a 2x2 max-pool follows.
      dtype: dtype of the computation.

    Returns:
      ``[B, ceil(H / stride), ceil(W / stride), features]``, or half as many rows and columns.
    """
    name, norm_name = names
    bias, first = use_bias or folded, pool and folded  # a norm may turn the order round
    x = conv(features, size, stride, kernel_init=kernel_init, dtype=dtype, use_bias=bias, pool=first, name=name)(x)
    if not folded:
        x = BatchNorm(use_running_average=not train, dtype=dtype, name=norm_name)(x)
    return max_pool_2x2(x) if pool and not first else x


def avg_pool_2x2(images: jax.Array) -> jax.Array:
    """Mean over 2x2 windows with stride 2, an odd last row or column dropped: ``[B, H // 2, W // 2, C]``."""
    return _windows(images).mean((2, 4))


def global_avg_pool(maps: jax.Array) -> jax.Array:
    """Mean over all pixels: ``[B, H, W, C]`` to ``[B, C]``."""
    return maps.mean((1, 2))


def adaptive_avg_pool(maps: jax.Array, size: int) -> jax.Array:
    """Mean over ``size x size`` bins that cover maps of any size, as ``torch.nn.AdaptiveAvgPool2d``.

    Bin i of H rows runs from floor(i * H / size) to ceil((i + 1) * H / size): bins overlap where ``size`` does not
    divide H, and repeat pixels where H is smaller.

    Args:
      maps: ``[B, H, W, C]``, H and W at least 1.
      size: bins a side.

    Returns:
      ``[B, size, size, C]``, same dtype.
    """
    H, W = maps.shape[1:3]
    if H == W == size:
        return maps
    rows, columns = (jnp.asarray(_bins(length, size), maps.dtype) for length in (H, W))
    # A weighted mean must not be rounded to fewer bits than the maps have, as accelerators do by default.
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, maps, precision=jax.lax.Precision.HIGHEST)


def _bins(length: int, size: int) -> np.ndarray:
    """The matrix ``[size, length]`` whose row i averages over bin i."""
    matrix = np.zeros((size, length))
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def _windows(images: jax.Array) -> jax.Array:
    """``[B, H, W, C]`` as ``[B, H // 2, 2, W // 2, 2, C]``."""
    B, H, W, C = images.shape
    even = images[:, : H // 2 * 2, : W // 2 * 2]
    return even.reshape(B, H // 2, 2, W // 2, 2, C)


def flatten(maps: jax.Array) -> jax.Array:
    """``[B, ...]`` as ``[B, F]``, channels fastest."""
    return maps.reshape(maps.shape[0], -1)
