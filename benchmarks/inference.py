"""How fast jaxtl classifies images, beside what a user would pick instead.

    python -m benchmarks.inference --model resnet18 resnet50 --batch 32
    python -m benchmarks.inference --model resnet50 --peer torchvision --peer keras --peer flax --dtype bfloat16

The work, the same for all: a batch of normalised float32 images that lies on the device becomes float32 logits there.
Weights are random, images are noise; the first device alone computes. jaxtl folds batch norm into the convolutions
(``fold_batch_norm``) and stores kernels in the dtype of the computation, as one does before one serves a network; the
peers run as their users write them: PyTorch eager, channels last, in inference mode; Keras on its JAX backend; plain
Flax. Contenders take turns of ``--seconds``; printed are medians of ``--repeats`` turns, and ratios of medians.

A GFLOP counts each multiply-add of jaxtl's network as two, for every contender (`benchmarks/zoo.py`). "of matmul" is
the share of what a square matrix product of the same dtype reaches, which takes its turn too. "program" is what XLA's
program takes on the device: weights, images, logits and temporaries.
"""

import functools
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxtl
from benchmarks.contender import Contender, Task, compiled, images_and_labels
from benchmarks.side_by_side import Benchmark, command, kernels_as
from jaxtl.models import Classifier, fold_batch_norm

LEAST_COMPARED = 128  # images whose classes in both dtypes are compared


def prepared(task: Task) -> tuple[Classifier, dict[str, Any]]:
    """The folded network and its variables, ready to serve."""
    model, variables = jaxtl.create_model(
        task.model,
        task.classes,
        key=jax.random.key(task.seed),
        image_shape=(task.size, task.size, 3),
        dtype=jnp.dtype(task.dtype),
    )
    model, variables = fold_batch_norm(model, variables)
    return model, {**variables, "params": jax.jit(kernels_as, static_argnums=1)(variables["params"], task.dtype)}


def _jitted(model: Classifier) -> jax.stages.Wrapped:
    return jax.jit(functools.partial(model.apply, train=False))


def ours(task: Task) -> Contender:
    """jaxtl's contender."""
    model, variables = prepared(task)
    images = jax.device_put(images_and_labels(task)[0])
    forward = _jitted(model)
    return compiled("jaxtl", forward, jax.device_put(variables), images, carries=False)


def agreement(task: Task) -> dict[str, Any]:
    """In bfloat16: for what share of the images it names the class that float32 names."""
    if task.dtype == "float32":
        return {}
    batches = [images_and_labels(task._replace(seed=task.seed + i))[0] for i in range(-(-LEAST_COMPARED // task.batch))]
    top1 = []
    for dtype in ("float32", "bfloat16"):
        model, variables = prepared(task._replace(dtype=dtype))
        forward = _jitted(model)
        top1.append(np.concatenate([np.asarray(forward(variables, images)).argmax(-1) for images in batches]))
    return {"top1_agreement": float((top1[0] == top1[1]).mean()), "top1_images": len(top1[0])}


BENCHMARK = Benchmark("inference", __doc__, ours, passes=1, further=agreement)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON and a chart where asked to."""
    return command(BENCHMARK, argv)


if __name__ == "__main__":
    sys.exit(main())
