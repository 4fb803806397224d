"""Flax Linen and optax, written plainly: `benchmarks.peers.flax_nets` in a jitted step with a donated state."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.contender import LEARNING_RATE, MOMENTUM, Contender, NoSuchNetError, Task, compiled, images_and_labels
from benchmarks.peers.flax_nets import NETS


def contender(task: Task) -> Contender:
    """See the package.

    Raises:
      NoSuchNetError: nobody wrote this network, or not for this size.
    """
    if task.model not in NETS:
        raise NoSuchNetError(f"There is no {task.model} in plain Flax here, so that it is measured without this peer.")
    if task.model.startswith("vgg") and task.size != 224:
        raise NoSuchNetError(
            f"The dense layers of the plain {task.model} grow with the image, so that it is another network than ours "
            f"at {task.size} pixels and is left out; at 224 they are the same."
        )
    model = NETS[task.model](task.classes, dtype=jnp.dtype(task.dtype))
    images, labels = jax.device_put(images_and_labels(task))
    key = jax.random.key(task.seed)
    init = jax.jit(model.init, static_argnames="train")
    variables = init({"params": key, "dropout": key}, images[:1], train=False)

    if task.what == "inference":

        def forward(variables: Any, images: jax.Array) -> jax.Array:
            return jnp.asarray(model.apply(variables, images, train=False), jnp.float32)

        return compiled("plain Flax", jax.jit(forward), variables, images, carries=False, plain=True)

    optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)

    def train_step(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        params, batch_stats, opt_state, key = state
        key, dropout_key = jax.random.split(key)

        def loss_fn(params: Any) -> tuple[jax.Array, Any]:
            logits, updates = model.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
            return losses.mean(), updates.get("batch_stats", {})

        (_, moved), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), moved, opt_state, key

    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    state = (params, batch_stats, jax.jit(optimizer.init)(params), key)
    step = jax.jit(train_step, donate_argnums=0)
    return compiled("plain Flax", step, state, images, labels, carries=True, plain=True)
