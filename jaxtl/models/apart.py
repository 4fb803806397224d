"""Parts of a program that XLA computes by themselves."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
from jax.experimental.xla_metadata import set_xla_metadata

P = ParamSpec("P")
T = TypeVar("T")


def apart(function: Callable[P, T]) -> Callable[P, T]:
    """The same function, its arguments computed before it and its results kept, on a CPU.

    XLA for a CPU fuses what comes before an operation into each place that reads it, and computes it there again: for
    each tap of a pool, and in the order of a transposed copy. ``lax.optimization_barrier`` does not hold it back; a
    call that is not inlined does. Convolutions must stay outside, where XLA would find no fast way for them.

    Args:
      function: from arrays to arrays, without convolutions.
    """
    called = jax.jit(function)

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with set_xla_metadata(inlineable="false"):
            return called(*args, **kwargs)

    return call
