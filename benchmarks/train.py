"""How fast jaxtl trains, beside what a user would pick instead.

    python -m benchmarks.train --model resnet18 resnet50 --batch 32
    python -m benchmarks.train --model resnet50 --peer torchvision --peer keras --peer flax --dtype bfloat16

The work, the same for all: forward, backward and an update of every parameter by SGD with momentum 0.9, on a batch of
normalised float32 images and labels that lie on the device. Batch norm and dropout are in training mode; in bfloat16
the parameters stay in float32. jaxtl runs its own step (``make_train_step``), which also gathers its batch by index and
adds up loss, accuracy and the confusion matrix; the peers do no such thing: PyTorch eager, channels last; Keras and
plain Flax in a jitted step. "jaxtl, augmented" is the step as a run takes it: it starts from uint8 images, flips, crops
and normalises them too. With ``--augment randaugment`` another one does that as well. They are not compared with the
peers.

Weights are random, images are noise; the first device alone computes. Contenders take turns of ``--seconds``; printed
are medians of ``--repeats`` turns, and ratios of medians. A GFLOP counts each multiply-add of jaxtl's network as two,
for every contender (`benchmarks/zoo.py`), and a step as three forward passes: one forward, two backward, for the
gradients of weights and of maps. "of matmul" is the share of what a square matrix product of the same dtype reaches,
which takes its turn too. "program" is what XLA's program takes on the device: state, images and temporaries.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

import jaxtl
from benchmarks.contender import LEARNING_RATE, MOMENTUM, Contender, Task, compiled, images_and_labels
from benchmarks.side_by_side import Benchmark, command
from jaxtl.data.augment import Transform, compose, normalise
from jaxtl.data.feed import epoch_order
from jaxtl.models import Classifier
from jaxtl.runtime.mesh import put_order, replicated
from jaxtl.train.optimizer import make_optimizer
from jaxtl.train.state import init_state
from jaxtl.train.step import make_train_step
from jaxtl.transfer import Phase
from jaxtl.weights.cards import IMAGENET_MEAN, IMAGENET_STD


def ours(task: Task) -> Contender:
    """jaxtl, doing the peers' work."""
    return compiled("jaxtl", *step_of(task, *network(task), compose(), *images_and_labels(task)), carries=True)


def augmented(task: Task) -> list[Contender]:
    """The whole step of a run, and the same with a policy where the task names one."""
    images, labels = images_and_labels(task)
    pixels = np.random.default_rng(task.seed).integers(0, 256, images.shape, np.uint8)
    phase = Phase(flip=True, crop=task.size // 8)
    phases = {"jaxtl, augmented": phase}
    if task.augment != "none":
        phases[f"jaxtl, {task.augment}"] = dataclasses.replace(phase, auto_augment=task.augment)
    contenders = []
    for name, phase in phases.items():
        step = step_of(task, *network(task), phase.transform(normalise(IMAGENET_MEAN, IMAGENET_STD)), pixels, labels)
        contenders.append(compiled(name, *step, carries=True))
    return contenders


def network(task: Task, **options: Any) -> tuple[Classifier, dict[str, Any]]:
    """The task's network with random variables."""
    return jaxtl.create_model(
        task.model,
        task.classes,
        key=jax.random.key(task.seed),
        image_shape=(task.size, task.size, 3),
        dtype=jnp.dtype(task.dtype),
        **options,
    )


def step_of(
    task: Task,
    model: Classifier,
    variables: dict[str, Any],
    transform: Transform,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    device: jax.Device | None = None,
    learning_rate: float = LEARNING_RATE,
) -> tuple[jax.stages.Wrapped, *tuple[Any, ...]]:
    """jaxtl's own train step and its arguments, the state first; the step donates the state.

    Args:
      task: the work.
      model: the network.
      variables: what the first state is made of.
      transform: augmentation and normalisation.
      inputs: ``[B, H, W, 3]``, what ``transform`` takes.
      labels: int32 ``[B]``.
      device: computes; the first one by default, for the peers use one device too.
      learning_rate: of SGD with momentum.
    """
    mesh = Mesh(np.array([device or jax.devices()[0]]), ("data",))
    optimizer = make_optimizer(Phase(optimizer="sgd", momentum=MOMENTUM), optax.constant_schedule(learning_rate))
    step, everywhere = make_train_step(model, optimizer, transform, mesh=mesh), replicated(mesh)
    state = init_state(variables["params"], variables.get("batch_stats", {}), optimizer, task.classes, everywhere)
    frozen: dict[str, Any] = {"params": {}, "batch_stats": {}}
    inputs_there, labels_there = jax.device_put((inputs, labels), everywhere)
    order = put_order(epoch_order(task.batch, task.batch, (task.seed,)), mesh)
    key = jax.device_put(jax.random.key(task.seed), everywhere)
    return step, state, frozen, inputs_there, labels_there, order, key


BENCHMARK = Benchmark("train", __doc__, ours, passes=3, also=augmented)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON and a chart where asked to."""
    return command(BENCHMARK, argv)


if __name__ == "__main__":
    sys.exit(main())
