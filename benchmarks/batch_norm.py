"""Batch norm in training, forward and backward, against Flax's own and its default variance.

    python -m benchmarks.batch_norm

Prints median milliseconds of each, taken in turn, float32, and of the mean over the channels alone.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from jaxtl.compiler_options import compiler_options
from jaxtl.environment import device
from jaxtl.models.batch_norm import BatchNorm, channel_mean

SHAPES = ((128, 16, 16, 64), (128, 8, 8, 256), (128, 4, 4, 512), (16, 56, 56, 64))
REPEATS = 15


def compiled(function: Callable[..., Any], *arguments: Any) -> Callable[[], object]:
    """The function, compiled and run once."""
    program = jax.jit(function, compiler_options=compiler_options()).lower(*arguments).compile()
    jax.block_until_ready(program(*arguments))
    return lambda: jax.block_until_ready(program(*arguments))


def with_gradient(norm: nn.Module, x: jax.Array) -> Callable[[], object]:
    """The norm of x, its running statistics, and the gradients of scale, bias and x."""
    variables = norm.init(jax.random.key(0), x)
    params, stats = variables["params"], variables["batch_stats"]

    def step(params: Any, x: jax.Array) -> Any:
        def forward(params: Any, x: jax.Array) -> Any:
            return norm.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])

        out, vjp, moved = jax.vjp(forward, params, x, has_aux=True)
        return moved, vjp(0.5 * out)

    return compiled(step, params, x)


def main() -> None:
    """Print a line for every shape."""
    print(device())
    for shape in SHAPES:
        x = jax.random.normal(jax.random.key(1), shape)
        runs = {
            "jaxtl": with_gradient(BatchNorm(use_running_average=False), x),
            "Flax": with_gradient(nn.BatchNorm(use_running_average=False, use_fast_variance=False), x),
            "Flax, E[x^2] - E[x]^2": with_gradient(nn.BatchNorm(use_running_average=False), x),
            "mean by a dot": compiled(channel_mean, x),
            "mean by XLA": compiled(lambda x: x.mean((0, 1, 2)), x),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(REPEATS):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        cells = (f"{name} {1e3 * statistics.median(times):.2f}" for name, times in seconds.items())
        print("x".join(map(str, shape)), "; ".join(cells), "ms", flush=True)


if __name__ == "__main__":
    main()
