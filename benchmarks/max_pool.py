"""The hand-written gradient of the 2x2 max-pool against XLA's, in one train step of the network `cnn`.

    python benchmarks/max_pool.py

Prints the median time of a step by each, taken in turn, and their ratio; batch 128, 32x32 images, float32.
"""

import statistics
import time
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxtl.environment import device
from jaxtl.models import build_model, cnn
from jaxtl.models.layers import max_pool_2x2

BATCH, REPEATS = 128, 15


def xla_max_pool(images: jax.Array) -> jax.Array:
    """The same pool with the gradient that XLA derives (select-and-scatter)."""
    return nn.max_pool(images, (2, 2), strides=(2, 2))


def make_step() -> Callable[[], object]:
    """A compiled gradient step; the pool is the one that `jaxtl.models.cnn` names at this moment."""
    model = build_model("cnn", 10, dropout=0.0)
    images, labels = jnp.ones((BATCH, 32, 32, 3)), jnp.zeros(BATCH, jnp.int32)
    params = jax.jit(model.init)(jax.random.key(0), images)

    def loss(params: optax.Params) -> jax.Array:
        logits = jnp.asarray(model.apply(params, images, train=False))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    step = jax.jit(lambda params: jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params)))
    compiled = step.lower(params).compile()
    return lambda: jax.block_until_ready(compiled(params))


def main() -> None:
    """Print the comparison."""
    steps = {}
    for name, pool in (("hand-written", max_pool_2x2), ("XLA's", xla_max_pool)):
        setattr(cnn, "max_pool_2x2", pool)  # noqa: B010 - the type checker must not mind
        steps[name] = make_step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    ours, theirs = (statistics.median(times) for times in seconds.values())
    print(f"{device()}: {1e3 * ours:.1f} ms against {1e3 * theirs:.1f} ms a step, {theirs / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
