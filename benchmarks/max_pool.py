"""The hand-written gradients of the max-pools against XLA's, in one train step of `cnn` (2x2) and of `resnet18` (3x3).

    python -m benchmarks.max_pool

Prints the median time of a step by each, taken in turn, and their ratio; batch 128, 32x32 images, float32.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxtl.models import build_model, cnn, resnet
from jaxtl.models.max_pool import max_pool_2x2, max_pool_3x3
from jaxtl.runtime.compiler_options import compiler_options
from jaxtl.runtime.environment import device

BATCH, REPEATS = 128, 15
Pool = Callable[[jax.Array], jax.Array]


def xla_2x2(images: jax.Array) -> jax.Array:
    """The same pool with the gradient that XLA derives (select-and-scatter)."""
    return nn.max_pool(images, (2, 2), strides=(2, 2))


def xla_3x3(images: jax.Array) -> jax.Array:
    """Likewise."""
    return nn.max_pool(images, (3, 3), (2, 2), padding=((1, 1), (1, 1)))


def make_step(network: str, **options: Any) -> Callable[[], object]:
    """A compiled gradient step; the pool is the one that the network's module names at this moment."""
    model = build_model(network, 10, **options)
    images, labels = jax.random.normal(jax.random.key(1), (BATCH, 32, 32, 3)), jnp.zeros(BATCH, jnp.int32)
    variables = jax.jit(model.init)(jax.random.key(0), images)

    def loss(params: optax.Params, others: Any, images: jax.Array) -> jax.Array:
        logits, _ = model.apply({"params": params, **others}, images, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits), labels).mean()

    def step(params: optax.Params, others: Any, images: jax.Array) -> Any:
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params, others, images))

    params = variables.pop("params")
    compiled = jax.jit(step, compiler_options=compiler_options()).lower(params, variables, images).compile()
    return lambda: jax.block_until_ready(compiled(params, variables, images))


def compare(network: str, module: Any, ours: Pool, theirs: Pool, **options: Any) -> None:
    """Print one line."""
    steps = {}
    for pool in (ours, theirs):
        setattr(module, ours.__name__, pool)
        steps[pool] = make_step(network, **options)
    seconds: dict[Pool, list[float]] = {pool: [] for pool in steps}
    for _ in range(REPEATS):
        for pool, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[pool].append(time.perf_counter() - start)
    mine, other = (statistics.median(times) for times in seconds.values())
    print(f"{network}: {1e3 * mine:.1f} ms against {1e3 * other:.1f} ms a step, {other / mine:.2f} times as fast")


def main() -> None:
    """Print the comparisons."""
    print(device())
    compare("cnn", cnn, max_pool_2x2, xla_2x2, dropout=0.0)
    compare("resnet18", resnet, max_pool_3x3, xla_3x3)


if __name__ == "__main__":
    main()
