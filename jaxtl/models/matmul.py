"""Matrix products that sum in float32 and round once, which is also the one fast way in bfloat16 on a CPU."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


@jax.custom_vjp
def matmul(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """``x @ matrix`` over the last axis of x, ``[..., K]`` and ``[K, O]`` of one dtype, to ``[..., O]`` of that dtype.

    XLA has a fast bfloat16 product for a CPU only where it gives float32, and the gradients are such products too:
    those that JAX derives multiply by a float32 gradient.
    """
    return sum_in_float32(x, matrix, ((x.ndim - 1,), (0,))).astype(x.dtype)


def _forward(x: jax.Array, matrix: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return matmul(x, matrix), (x, matrix)


def _backward(saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, matrix = saved
    rows = tuple(range(x.ndim - 1))
    by_x = sum_in_float32(grad, matrix, ((grad.ndim - 1,), (1,)))
    by_matrix = sum_in_float32(x, grad, (rows, rows))
    return by_x.astype(x.dtype), by_matrix.astype(matrix.dtype)


matmul.defvjp(_forward, _backward)


def sum_in_float32(x: jax.Array, y: jax.Array, axes: tuple[tuple[int, ...], tuple[int, ...]]) -> jax.Array:
    """The dot over these axes of x and of y, float32 where they have fewer bits."""
    total = jnp.promote_types(x.dtype, jnp.float32)
    return lax.dot_general(x, y, (axes, ((), ())), preferred_element_type=total)


def dense_dot(x: jax.Array, matrix: jax.Array, dimension_numbers: Any, precision: Any = None) -> jax.Array:
    """``matmul``, to be injected: ``nn.Dense(..., dot_general=dense_dot)``; any other product is the library's."""
    if dimension_numbers != (((x.ndim - 1,), (0,)), ((), ())) or precision is not None:
        out: jax.Array = lax.dot_general(x, matrix, dimension_numbers, precision=precision)
        return out
    return matmul(x, matrix)
