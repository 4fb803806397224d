"""Convolution that is lowered to whatever the platform does well: the library's own on accelerators, dots on CPUs.

XLA's convolution on a CPU packs patches and multiplies matrices (Eigen), which is hard to beat for maps of some size in
float32. Where the maps are smaller than the kernel it falls to plain loops, a hundred times slower, and bfloat16 it
computes in float32; ``convolve`` goes around both. The convolution itself, its padding and its
strides are those of ``lax.conv_general_dilated``; no result is approximated.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxtl.models.matmul import matmul, sum_in_float32

Way = Literal["library", "pad channels", "dot", "dense", "im2col", "rows"]

Pads = tuple[tuple[int, int], tuple[int, int]]
Strides = tuple[int, int]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(
    images: jax.Array,
    kernel: jax.Array,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """A 2D convolution, to be injected: ``nn.Conv(..., conv_general_dilated=convolve)``.

    Args:
      images: ``[B, H, W, C]``, float. B may be a symbolic size (``jax.export``); H, W and C are numbers.
      kernel: ``[kh, kw, C, O]``, same dtype.
      window_strides: rows and columns from one output pixel to the next.
      padding: pixels of zeros, ``((top, bottom), (left, right))``, none negative.
      **options: what Flax says besides; dilation, groups, a precision, or another layout than Flax's leave the
        convolution to the library.

    Returns:
      ``[B, h, w, O]``, of the dtype of ``images``. Reverse-mode derivatives with respect to both arguments are defined;
      forward-mode and second derivatives of either are not.

    The way is chosen when the program is lowered: the library's on any platform but a CPU, there by ``way_on_cpu``.
    Each number is milliseconds of processor time, the library's and this way's, medians of 5 to 20 in turn at batch 128
    (maps of 7 pixels: 8), AMD EPYC with AVX-512, two cores shared with other work, jax 0.10.2:

    - ``dot``, kernels of 1x1: 0.52 and 0.41 at 2x2x512 to 128, 1.84 and 1.56 at 8x8x128 to 128; bfloat16 0.74 and 0.32,
      3.53 and 1.83.
    - ``dense``, every output pixel sees every input pixel: 265 and 2.5 for 3x3 at 2x2x256, 168 and 0.5 (the shortest
      wall time) at 1x1x512, where it is one dot with the middle tap. Gradient of the images: 240 and 3.1 at 2x2x256.
    - ``im2col``, fewer output rows or columns than the kernel has: 3.4 and 2.0 for 3x3 of stride 2 at 4x4x128; gradient
      of the images 93 and 2.5.
    - ``rows``, bfloat16 with 128 channels or more on both sides, to 256 or at most 14 x 14 output pixels: 21.8 and 12.6
      at 7x7x512 and batch 16, 24.1 and 18.1 at 14x14x256, 3.5 and 3.0 at 4x4x128; wall time 192 and 132 at 28x28x512,
      126 and 109 at 56x56x128 to 256. Not else, where the copies cost more than the dots win: 27.7 and 50.2 at
      28x28x128, 4.2 and 6.8 at 8x8x64 and batch 128. Forward alone.
    - ``pad channels``, fewer than 4 channels: 94 and 66 for 7x7 of stride 2 at 224x224x3 and batch 16, 11.2 and 8.9 at
      32x32x3, 15.4 and 13.2 for 3x3 to 32; the kernel's gradient 7.6 and 6.6, for 7x7 alike.
    - ``library``, all the rest: in float32, 4.0 against 9.6 by the best of the others for 3x3 at 8x8x64, 18.8 against
      24.9 at 14x14x256 and batch 16; the library is Eigen here (`compiler_options`). So is the gradient of the
      kernel in all ways but ``dot``, ``pad channels`` and a single output pixel: 4.0 against 5.3 at 2x2x256, 4.1
      against 6.0 at 4x4x128.
    """
    plain = {"lhs_dilation": (1, 1), "rhs_dilation": (1, 1), "feature_group_count": 1, "precision": None}
    layout = options.pop("dimension_numbers", None)
    if (
        images.ndim != 4
        or isinstance(padding, str)
        or any(option not in plain or value != plain[option] for option, value in options.items())
        or layout not in (None, lax.conv_dimension_numbers(images.shape, kernel.shape, _LAYOUT))
    ):
        return lax.conv_general_dilated(
            images, kernel, window_strides, padding, dimension_numbers=layout or _LAYOUT, **options
        )
    (top, bottom), (left, right) = padding
    rows, columns = window_strides
    return _convolve(images, kernel, (rows, columns), ((top, bottom), (left, right)))


def way_on_cpu(
    image_shape: Sequence[Any], kernel_shape: Sequence[int], stride: Strides, pads: Pads, dtype: DTypeLike
) -> Way:
    """The way that ``convolve`` takes on a CPU; ``image_shape[0]``, the batch, is not looked at."""
    kh, kw, C, features = kernel_shape
    possible = possible_on_cpu(image_shape, kernel_shape, stride, pads)
    if "dot" in possible:
        return "dot"
    if "dense" in possible:
        return "dense"
    h, w = _output_size(image_shape, kernel_shape, stride, pads)
    if h < kh or w < kw:
        return "im2col"
    if dtype == jnp.bfloat16 and min(C, features) >= 128 and (features >= 256 or h * w <= 14 * 14):
        return "rows"
    return "pad channels" if C < 4 else "library"


def kernel_way_on_cpu(image_shape: Sequence[Any], kernel_shape: Sequence[int], stride: Strides, pads: Pads) -> Way:
    """The way that takes the gradient of the kernel on a CPU, see ``way_on_cpu``.

    The library's is the fastest even for the maps whose images' gradient takes it a hundred times too long, but for a
    single tap or output pixel, where it is one dot, and images of few channels.
    """
    way = way_on_cpu(image_shape, kernel_shape, stride, pads, jnp.float32)
    one_pixel = _output_size(image_shape, kernel_shape, stride, pads) == (1, 1)
    return way if way in ("dot", "pad channels") or (way == "dense" and one_pixel) else "library"


def possible_on_cpu(
    image_shape: Sequence[Any], kernel_shape: Sequence[int], stride: Strides, pads: Pads
) -> tuple[Way, ...]:
    """The ways that give this convolution at all."""
    H, W, C = image_shape[1:]
    kh, kw = kernel_shape[:2]
    h, w = _output_size(image_shape, kernel_shape, stride, pads)
    # Output pixel i sees input pixel y by tap y + top - i * stride: all of them, for the first and the last pixel.
    dense = all(
        (n - 1) * step <= before and before + length <= taps
        for n, step, (before, _), length, taps in zip((h, w), stride, pads, (H, W), (kh, kw), strict=True)
    )
    needs: dict[Way, bool] = {
        "pad channels": C < 4,
        "dot": (kh, kw) == (1, 1) and not any(map(any, pads)),
        "dense": dense,
    }
    return tuple(way for way in WAYS if needs.get(way, True))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(images: jax.Array, kernel: jax.Array, stride: Strides, pads: Pads) -> jax.Array:
    on_cpu = WAYS[way_on_cpu(images.shape, kernel.shape, stride, pads, images.dtype)]
    cpu, default = (functools.partial(way, stride=stride, pads=pads) for way in (on_cpu, _library))
    out: jax.Array = lax.platform_dependent(images, kernel, cpu=cpu, default=default)
    return out


def _convolve_fwd(
    images: jax.Array, kernel: jax.Array, stride: Strides, pads: Pads
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(images, kernel, stride, pads), (images, kernel)


def _convolve_bwd(
    stride: Strides, pads: Pads, saved: tuple[jax.Array, jax.Array], grad: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, kernel = saved
    way = way_on_cpu(images.shape, kernel.shape, stride, pads, images.dtype)
    image_way: Way = "library" if way == "rows" else way
    kernel_way = kernel_way_on_cpu(images.shape, kernel.shape, stride, pads)

    def gradients(
        images: jax.Array, kernel: jax.Array, grad: jax.Array, *, image_way: Way, kernel_way: Way
    ) -> tuple[jax.Array, jax.Array]:
        def of(way: Way) -> Any:
            return functools.partial(WAYS[way], stride=stride, pads=pads)

        (image_grad,) = jax.vjp(lambda images: of(image_way)(images, kernel), images)[1](grad)
        (kernel_grad,) = jax.vjp(lambda kernel: of(kernel_way)(images, kernel), kernel)[1](grad)
        return image_grad, kernel_grad

    found: tuple[jax.Array, jax.Array] = lax.platform_dependent(
        images,
        kernel,
        grad,
        cpu=functools.partial(gradients, image_way=image_way, kernel_way=kernel_way),
        default=functools.partial(gradients, image_way="library", kernel_way="library"),
    )
    return found


_convolve.defvjp(_convolve_fwd, _convolve_bwd)


def _output_size(
    image_shape: Sequence[Any], kernel_shape: Sequence[int], stride: Strides, pads: Pads
) -> tuple[int, int]:
    h, w = ((image_shape[1 + axis] + sum(pads[axis]) - kernel_shape[axis]) // stride[axis] + 1 for axis in range(2))
    return h, w


def _library(images: jax.Array, kernel: jax.Array, *, stride: Strides, pads: Pads) -> jax.Array:
    return lax.conv_general_dilated(images, kernel, stride, pads, dimension_numbers=_LAYOUT)


def _pad_channels(images: jax.Array, kernel: jax.Array, *, stride: Strides, pads: Pads) -> jax.Array:
    """The library's convolution of images with channels of zeros, four altogether."""
    zeros = (0, 4 - images.shape[3])
    images = jnp.pad(images, ((0, 0), (0, 0), (0, 0), zeros))
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), zeros, (0, 0)))
    return _library(images, kernel, stride=stride, pads=pads)


def _dot(images: jax.Array, kernel: jax.Array, *, stride: Strides, pads: Pads) -> jax.Array:
    """A 1x1 convolution without padding: one dot over the channels."""
    del pads
    return matmul(images[:, :: stride[0], :: stride[1]], kernel[0, 0])


def _dense(images: jax.Array, kernel: jax.Array, *, stride: Strides, pads: Pads) -> jax.Array:
    """Where every output pixel sees every input pixel: a dense layer, whose matrix has no zeros and no padding."""
    B, H, W, C = images.shape
    features = kernel.shape[3]
    h, w = _output_size(images.shape, kernel.shape, stride, pads)
    columns = []
    for i in range(h):
        for j in range(w):
            top, left = pads[0][0] - i * stride[0], pads[1][0] - j * stride[1]
            columns.append(kernel[top : top + H, left : left + W].reshape(H * W * C, features))
    return matmul(images.reshape(B, H * W * C), jnp.concatenate(columns, axis=1)).reshape(B, h, w, features)


def _im2col(images: jax.Array, kernel: jax.Array, *, stride: Strides, pads: Pads) -> jax.Array:
    """One dot of the pixels under each output pixel, ``[B, h, w, kh * kw * C]``."""
    size = _output_size(images.shape, kernel.shape, stride, pads)
    kh, kw, _, features = kernel.shape
    padded = jnp.pad(images, ((0, 0), *pads, (0, 0)))
    rows = (_taken(padded, 1, i, stride, size) for i in range(kh))
    taps = [_taken(row, 2, j, stride, size) for row in rows for j in range(kw)]
    return matmul(jnp.concatenate(taps, axis=-1), kernel.reshape(-1, features))


def _rows(images: jax.Array, kernel: jax.Array, *, stride: Strides, pads: Pads) -> jax.Array:
    """A dot for every row of the kernel, of ``[B, h, w, kw * C]``, summed in float32; images are copied kw times."""
    size = _output_size(images.shape, kernel.shape, stride, pads)
    kh, kw, _, features = kernel.shape
    padded = jnp.pad(images, ((0, 0), *pads, (0, 0)))
    beside = jnp.concatenate([_taken(padded, 2, j, stride, size) for j in range(kw)], axis=-1)
    total = jnp.zeros((), jnp.float32)
    for i in range(kh):
        row = _taken(beside, 1, i, stride, size)
        total += sum_in_float32(row, kernel[i].reshape(-1, features), ((3,), (0,)))
    return total.astype(images.dtype)


def _taken(padded: jax.Array, axis: int, tap: int, stride: Strides, size: tuple[int, int]) -> jax.Array:
    """The rows (axis 1) or columns (axis 2) that a tap of the kernel sees, one for each of the output."""
    step, n = stride[axis - 1], size[axis - 1]
    return lax.slice_in_dim(padded, tap, tap + (n - 1) * step + 1, step, axis)


WAYS: dict[Way, Callable[..., jax.Array]] = {
    "library": _library,
    "pad channels": _pad_channels,
    "dot": _dot,
    "dense": _dense,
    "im2col": _im2col,
    "rows": _rows,
}
