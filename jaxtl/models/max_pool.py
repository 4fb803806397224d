"""Max-pools of stride 2 whose gradient a CPU computes fast."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxtl.models.apart import apart


def max_pool_2x2(images: jax.Array) -> jax.Array:
    """Maximum over 2x2 windows with stride 2; an odd last row or column is dropped, as in PyTorch.

    Args:
      images: ``[B, H, W, C]``, any float dtype, H and W at least 2.

    Returns:
      ``[B, H // 2, W // 2, C]``, same dtype; gradients as those of ``max_pool_3x3``.
    """
    return _max_pool(images, 2, 0)


def max_pool_3x3(images: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows with stride 2 and one pixel of padding, as in the stem of a ResNet.

    Args:
      images: ``[B, H, W, C]``, any float dtype.

    Returns:
      ``[B, ceil(H / 2), ceil(W / 2), C]``, same dtype.

    The gradient goes to the first maximum of a window in row-major order, as in PyTorch and in ``lax.reduce_window``.
    On a CPU it is written by hand, for XLA's own (select-and-scatter) is slow there; elsewhere the pool is XLA's. With
    it a train step of ``cnn`` at batch 128 and 32 pixels is 1.4 to 1.7 times as fast, of ``resnet18`` 1.0 to 1.3 times,
    two AVX-512 cores, jax 0.10.2 (``python -m benchmarks.max_pool``).
    """
    return _max_pool(images, 3, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool(images: jax.Array, size: int, border: int) -> jax.Array:
    def by_rows_and_columns(images: jax.Array) -> jax.Array:
        wide = _wide(images)  # XLA has no vectors of bfloat16 on a CPU
        return _max_along(2, _max_along(1, wide, size), size).astype(images.dtype)

    pooled: jax.Array = lax.platform_dependent(images, cpu=by_rows_and_columns, default=_library(size, border))
    return pooled


def _max_pool_fwd(images: jax.Array, size: int, border: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The pool, the images, and which tap of its window each output pixel comes from (0 where XLA finds it itself)."""

    def by_taps(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        most, *others = _taps(_wide(images), size, border)
        winner = jnp.zeros(most.shape, jnp.int8)
        for tap, pixels in enumerate(others, start=1):
            winner = jnp.where(pixels > most, jnp.int8(tap), winner)
            most = jnp.maximum(most, pixels)
        return most.astype(images.dtype), winner

    def library(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        pooled = _library(size, border)(images)
        return pooled, jnp.zeros(pooled.shape, jnp.int8)

    pooled, winner = lax.platform_dependent(images, cpu=by_taps, default=library)
    return pooled, (images, winner)


def _max_pool_bwd(size: int, border: int, saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array]:
    def by_taps(images: jax.Array, winner: jax.Array, grad: jax.Array) -> jax.Array:
        to_winners = functools.partial(_to_winners_2x2 if size == 2 else _to_winners_3x3, shape=images.shape)
        return apart(to_winners)(winner, _wide(grad)).astype(grad.dtype)

    def library(images: jax.Array, winner: jax.Array, grad: jax.Array) -> jax.Array:
        del winner
        found: jax.Array = jax.vjp(_library(size, border), images)[1](grad)[0]
        return found

    images, winner = saved
    return (lax.platform_dependent(images, winner, grad, cpu=by_taps, default=library),)


_max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


# In these lax is called by itself: what jnp wraps into a call of its own is not inlined here either.


def _to_winners_2x2(winner: jax.Array, grad: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Each pixel looks whether it is the winning tap of its window; an odd last one is in no window."""
    B, h, w, C = grad.shape
    tap = jnp.asarray(2 * (np.arange(2 * h) % 2)[:, None, None] + (np.arange(2 * w) % 2)[:, None], jnp.int8)

    def of_window(x: jax.Array) -> jax.Array:
        return lax.broadcast_in_dim(x, (B, h, 2, w, 2, C), (0, 1, 3, 5)).reshape(B, 2 * h, 2 * w, C)

    found = _where(of_window(winner) == tap, of_window(grad))
    return lax.pad(found, _zero(grad), ((0, 0, 0), (0, shape[1] - 2 * h, 0), (0, shape[2] - 2 * w, 0), (0, 0, 0)))


def _to_winners_3x3(winner: jax.Array, grad: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Along the columns for each row of taps by itself, then along the rows.

    Two steps of few operands each: all taps at once XLA computes element by element.
    """
    taps = [[_where(winner == 3 * i + j, grad) for j in range(3)] for i in range(3)]
    first, middle, last = (_spread(*row, axis=2, length=shape[2]) for row in taps)
    return _spread(first, middle, last, axis=1, length=shape[1])


def _spread(first: jax.Array, middle: jax.Array, last: jax.Array, *, axis: int, length: int) -> jax.Array:
    """What the three taps of windows of stride 2 take, at the pixels that they see.

    In padded pixels, the first of which is left out at the end, window i begins with 2i. Pixel 2i is also the last tap
    of the window before; there is one such pixel after the last window.
    """

    def padded(x: jax.Array, before: int, between: int) -> jax.Array:
        config = [(before, 1 - before, between) if each == axis else (0, 0, 0) for each in range(x.ndim)]
        return lax.pad(x, _zero(x), config)

    even, odd = padded(first, 0, 0) + padded(last, 1, 0), padded(middle, 0, 0)
    return lax.slice_in_dim(padded(even, 0, 1) + padded(odd, 1, 1), 1, length + 1, axis=axis)


def _where(condition: jax.Array, x: jax.Array) -> jax.Array:
    return lax.select(condition, x, lax.full_like(x, 0))


def _zero(x: jax.Array) -> jax.Array:
    return jnp.zeros((), x.dtype)


def _wide(x: jax.Array) -> jax.Array:
    return jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))


def _library(size: int, border: int) -> Any:
    borders = ((border, border), (border, border))
    return functools.partial(nn.max_pool, window_shape=(size, size), strides=(2, 2), padding=borders)


def _max_along(axis: int, images: jax.Array, size: int) -> jax.Array:
    """Maxima of rows (axis 1) or columns (2): of pixels 2i and 2i + 1, and of 2i - 1 too where ``size`` is 3."""
    if images.shape[axis] % 2 and size == 3:
        last = [(0, 1) if each == axis else (0, 0) for each in range(images.ndim)]
        images = jnp.pad(images, last, constant_values=jnp.array(-jnp.inf, images.dtype))
    n = images.shape[axis] // 2
    pairs = lax.slice_in_dim(images, 0, 2 * n, axis=axis).reshape(*images.shape[:axis], n, 2, *images.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in range(2))
    most = jnp.maximum(even, odd)
    if size == 2:
        return most
    # The first window has nothing before it: a pixel that it sees anyway stands in.
    first, others = lax.slice_in_dim(even, 0, 1, axis=axis), lax.slice_in_dim(odd, 0, n - 1, axis=axis)
    return jnp.maximum(most, jnp.concatenate([first, others], axis))


def _taps(images: jax.Array, size: int, border: int) -> list[jax.Array]:
    """What each tap of the windows sees, in row-major order: ``size ** 2`` arrays ``[B, h, w, C]``."""
    h, w = ((length + 2 * border - size) // 2 + 1 for length in images.shape[1:3])
    borders = (border, border)
    lowest = jnp.array(-jnp.inf, images.dtype)
    padded = jnp.pad(images, ((0, 0), borders, borders, (0, 0)), constant_values=lowest) if border else images
    return [padded[:, i : i + 2 * h - 1 : 2, j : j + 2 * w - 1 : 2] for i in range(size) for j in range(size)]
