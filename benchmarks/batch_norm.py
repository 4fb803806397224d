"""Batch norm in training, forward and backward, against Flax's own and its default variance.

    python -m benchmarks.batch_norm

Prints median milliseconds of each, taken in turn, float32, and of the mean over the channels alone.
"""

import statistics
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from benchmarks.contender import Contender, compiled
from benchmarks.measure import in_turn, warm_up
from jaxtl.models.batch_norm import BatchNorm, channel_mean
from jaxtl.runtime.compiler_options import compiler_options
from jaxtl.runtime.environment import device

SHAPES = ((128, 16, 16, 64), (128, 8, 8, 256), (128, 4, 4, 512), (16, 56, 56, 64))
REPEATS = 15


def program(name: str, function: Callable[..., Any], *arguments: Any) -> Contender:
    """The function as this package compiles it."""
    return compiled(name, jax.jit(function, compiler_options=compiler_options()), *arguments, carries=False)


def with_gradient(name: str, norm: nn.Module, x: jax.Array) -> Contender:
    """The norm of x, its running statistics, and the gradients of scale, bias and x."""
    variables = norm.init(jax.random.key(0), x)
    params, stats = variables["params"], variables["batch_stats"]

    def step(params: Any, x: jax.Array) -> Any:
        def forward(params: Any, x: jax.Array) -> Any:
            return norm.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])

        out, vjp, moved = jax.vjp(forward, params, x, has_aux=True)
        return moved, vjp(0.5 * out)

    return program(name, step, params, x)


def main() -> None:
    """Print a line for every shape."""
    print(device())
    for shape in SHAPES:
        x = jax.random.normal(jax.random.key(1), shape)
        contenders = [
            with_gradient("jaxtl", BatchNorm(use_running_average=False), x),
            with_gradient("Flax", nn.BatchNorm(use_running_average=False, use_fast_variance=False), x),
            with_gradient("Flax, E[x^2] - E[x]^2", nn.BatchNorm(use_running_average=False), x),
            program("mean by a dot", channel_mean, x),
            program("mean by XLA", lambda x: x.mean((0, 1, 2)), x),
        ]
        for each in contenders:
            warm_up(each)
        seconds = in_turn(contenders, REPEATS, least_s=0.0)
        cells = (f"{name} {1e3 * statistics.median(times):.2f}" for name, times in seconds.items())
        print("x".join(map(str, shape)), "; ".join(cells), "ms", flush=True)


if __name__ == "__main__":
    main()
