"""Layers that the families share: batch norm, convolutions and pools as PyTorch defines and initialises them."""

import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxtl.errors import UserError

Initializer = Callable[..., jax.Array]
Initialisers = Callable[[int], dict[str, Any]]  # of kernel and bias of a layer, by its fan-in
Norm = Literal["none", "after_conv", "after_pool"]

# He et al. 2015, https://arxiv.org/abs/1502.01852: variance 2 / fan keeps the scale of maps (fan-in) or of gradients
# (fan-out) through a ReLU. torchvision draws ResNet and VGG by fan-out, DenseNet by fan-in.
he_fan_in_init = nn.initializers.variance_scaling(2, "fan_in", "normal")
he_fan_out_init = nn.initializers.variance_scaling(2, "fan_out", "normal")


def torch_init(fan_in: int) -> dict[str, Any]:
    """PyTorch's default for kernels and biases of linear and convolutional layers: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    The source is kaiming_uniform_(a=sqrt(5)) in torch.nn.modules.linear. ``fan_in`` is for the bias: the kernel's
    initialiser, rewritten as a variance of (1/3) / fan_in, finds it in the kernel's shape.
    """
    bound = 1 / math.sqrt(fan_in)

    def bias_init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return {"kernel_init": nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"), "bias_init": bias_init}


@jax.custom_jvp
def relu(x: jax.Array) -> jax.Array:
    """``max(x, 0)``: any float array to the same shape and dtype. The derivative at 0 is 0, as that of ``torch.relu``.

    ``nn.relu`` finds its derivative from ``x``, this one from the result, which the next layer keeps for its own
    gradient in any case: so the gradient needs no further map, and XLA on a GPU can make one kernel of a convolution
    and the ReLU after it.
    """
    return jnp.maximum(x, 0)


relu.defjvps(lambda tangent, y, x: lax.select(y == 0, lax.full_like(tangent, 0), tangent))


class BatchNorm(nn.Module):
    """Batch norm over all axes but the last, with PyTorch's running statistics.

    It differs from ``nn.BatchNorm`` in two points. The running variance takes the variance of the batch without bias,
    n / (n - 1) times the one that normalises the batch. This matters where n = B * H * W is small: the last stage of a
    ResNet at 32 pixels has n = B. And the variance is the mean square of deviations, where Flax takes
    E[x^2] - E[x]^2 by default, which loses the digits that a large mean takes up.

    Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167; ``torch.nn.BatchNorm2d``.

    Attributes:
      use_running_average: normalise by the running statistics and leave them as they are (inference).
      momentum: share of the running statistics that a step keeps, PyTorch's 0.1 seen from the other side.
      epsilon: added to the variance.
      dtype: of the output; parameters and statistics are float32.
    """

    use_running_average: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., C]``, float, to the same shape.

        Raises:
          UserError: in training, for a single value a channel, which has no variance.
        """
        C = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (C,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (C,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (C,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (C,), jnp.float32)
        x = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
        if self.use_running_average or self.is_initializing():
            factor = lax.rsqrt(running_var.value + self.epsilon) * scale
            return ((x - running_mean.value) * factor + bias).astype(self.dtype)
        n, axes = x.size // C, range(x.ndim - 1)
        if n == 1:
            raise UserError(
                f"Batch norm {'/'.join(self.path)} sees one value a channel in training, maps of 1 x 1 pixel and a "
                "batch of 1, which has no variance; take a larger batch or larger images, or leave the stage frozen."
            )
        mean = x.mean(axes)
        # The variance is mean((x - c)^2) - (mean - c)^2 for any constant c. With the mean as c, the second term is 0
        # and has the derivatives of the mean. The gradient then takes two sums over the batch, as if derived by hand.
        constant = lax.stop_gradient(mean)
        deviation, zero = x - constant, mean - constant
        var = jnp.square(deviation).mean(axes) - jnp.square(zero)
        running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
        running_var.value = self.momentum * running_var.value + (1 - self.momentum) * (n / (n - 1) * var)
        factor = lax.rsqrt(var + self.epsilon) * scale
        return (deviation * factor + (bias - zero * factor)).astype(self.dtype)


def conv(features: int, size: int, stride: int = 1, **options: Any) -> nn.Conv:
    """A square convolution: ``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``, ``size`` odd.

    Padding is given in pixels, as in PyTorch: at even sizes and stride 2 ``"SAME"`` pads the other side. The options
    are those of ``nn.Conv``, which has a bias unless ``use_bias=False``.
    """
    return nn.Conv(features, (size, size), stride, padding=size // 2, **options)


class ConvModule(nn.Module, kw_only=True):
    """Base of the modules that convolve and normalise.

    Attributes:
      dtype: dtype of the computation; parameters are float32.
      folded: norms that can be folded into the convolutions before them are left away, see ``jaxtl.models.fold``.
      epsilon: of the norms.
      biases: convolutions before a norm have biases.
    """

    dtype: DTypeLike = jnp.float32
    folded: bool = False
    epsilon: float = BatchNorm.epsilon
    biases: bool = False

    def normalise(self, x: jax.Array, name: str, train: bool) -> jax.Array:
        """Batch norm of this name, which uses and updates the statistics of the batch in training."""
        return BatchNorm(use_running_average=not train, epsilon=self.epsilon, dtype=self.dtype, name=name)(x)

    def conv_norm(
        self,
        x: jax.Array,
        features: int,
        size: int,
        stride: int = 1,
        *,
        names: tuple[str, str] = ("conv", "norm"),
        kernel_init: Initializer,
        train: bool,
    ) -> jax.Array:
        """A convolution of ``x`` and the batch norm that follows it: ``[B, H, W, C]`` to ``[B, h, w, features]``.

        The arguments are those of ``conv``, ``nn.Conv`` and ``normalise``. A folded convolution has a bias in any case.
        """
        bias = self.biases or self.folded
        x = conv(features, size, stride, kernel_init=kernel_init, use_bias=bias, dtype=self.dtype, name=names[0])(x)
        return x if self.folded else self.normalise(x, names[1], train)


class Stem(ConvModule):
    """The first stage of a ResNet or DenseNet: convolution, batch norm, ReLU and a 3x3 max-pool of stride 2.

    Attributes:
      width: output channels.
      size: height and width of the kernel.
      stride: of the convolution.
      kernel_init: initialiser of the kernel.
      pool: close with the max-pool.
    """

    width: int
    size: int
    stride: int
    kernel_init: Initializer
    pool: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, ceil(H / s), ceil(W / s), width]``, s = stride, twice that with the pool."""
        x = relu(self.conv_norm(x, self.width, self.size, self.stride, kernel_init=self.kernel_init, train=train))
        return nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1))) if self.pool else x


class ConvBlock(ConvModule):
    """3x3 convolutions with ReLU, closed by a 2x2 max-pool: a block of the small CNNs, a stage of VGG.

    Attributes:
      widths: channels of each convolution, ``conv1``, ``conv2``, ...
      initialisers: of a convolution.
      norm: where batch norm stands: nowhere, between convolution and ReLU, or after the pool (study D's order).
      dropout: rate of the dropout after the pool.
    """

    widths: tuple[int, ...]
    initialisers: Initialisers
    norm: Norm = "none"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H // 2, W // 2, widths[-1]]``."""
        for i, width in enumerate(self.widths, start=1):
            x = conv(width, 3, dtype=self.dtype, name=f"conv{i}", **self.initialisers(9 * x.shape[-1]))(x)
            if self.norm == "after_conv" and not self.folded:
                x = self.normalise(x, f"norm{i}", train)
            x = relu(x)
        x = nn.max_pool(x, (2, 2), (2, 2))
        if self.norm == "after_pool":
            x = self.normalise(x, "norm", train)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


def global_avg_pool(maps: jax.Array) -> jax.Array:
    """Mean over all pixels: ``[B, H, W, C]`` to ``[B, C]``."""
    return maps.mean((1, 2))
