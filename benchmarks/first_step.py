"""One process from its start to its first finished train step, stage by stage; `benchmarks.compile` starts it.

Prints seconds as JSON. Nothing but the standard library is imported before the clock runs.
"""

import argparse
import json
import time


def main() -> None:
    """Take the step and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spawned", type=float, required=True, help="when this process was started, by time.time()")
    parser.add_argument("--model", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--dtype", required=True)
    arguments = parser.parse_args()
    ends = {"interpreter": time.time()}

    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import jaxtl
    from jaxtl.data.augment import normalise
    from jaxtl.data.feed import epoch_order
    from jaxtl.runtime.compile_cache import keep_compiled
    from jaxtl.runtime.lowerings import use_fast_lowerings
    from jaxtl.runtime.mesh import data_mesh, put_order, replicated
    from jaxtl.train.optimizer import make_optimizer
    from jaxtl.train.state import init_state
    from jaxtl.train.step import make_train_step
    from jaxtl.transfer import Phase
    from jaxtl.weights.cards import IMAGENET_MEAN, IMAGENET_STD

    ends["imports"] = time.time()
    use_fast_lowerings()
    keep_compiled()
    shape, classes = (arguments.size, arguments.size, 3), 10
    key, mesh = jax.random.key(0), data_mesh(arguments.batch)
    model, variables = jaxtl.create_model(
        arguments.model, classes, key=key, image_shape=shape, dtype=jnp.dtype(arguments.dtype)
    )
    optimizer = make_optimizer(Phase(optimizer="sgd"), optax.constant_schedule(1e-3))
    everywhere = replicated(mesh)
    state = init_state(variables["params"], variables.get("batch_stats", {}), optimizer, classes, everywhere)
    images = np.zeros((arguments.batch, *shape), np.uint8)
    labels = np.zeros(arguments.batch, np.int32)
    inputs = jax.device_put((images, labels), everywhere)
    order = put_order(epoch_order(arguments.batch, arguments.batch, (0,)), mesh)
    transform = Phase(flip=True, crop=4).transform(normalise(IMAGENET_MEAN, IMAGENET_STD))
    step = make_train_step(model, optimizer, transform, mesh=mesh)
    jax.block_until_ready((state, inputs))
    ends["init"] = time.time()

    given = (state, {"params": {}, "batch_stats": {}}, *inputs, order, key)
    compiled = step.lower(*given).compile()
    ends["compile or load"] = time.time()
    jax.block_until_ready(compiled(*given))
    ends["first step"] = time.time()

    stages, before = {}, arguments.spawned
    for stage, end in ends.items():
        stages[stage], before = end - before, end
    print(json.dumps(stages))


if __name__ == "__main__":
    main()
