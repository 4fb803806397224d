"""The learning-rate range test: train while the rate grows exponentially, and see where the loss falls, and rises.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks", https://arxiv.org/abs/1506.01186; smoothing, end and
suggestions as in fastai's ``lr_find``, https://docs.fast.ai/callback.schedule.html.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxtl.data.augment import Transform, compose, random_augmentation
from jaxtl.data.dataset import Dataset
from jaxtl.errors import UserError
from jaxtl.models.classifier import Classifier
from jaxtl.runtime.mesh import replicated
from jaxtl.train.examples import Batch, Examples, batches, place
from jaxtl.train.metrics import empty_metrics
from jaxtl.train.optimizer import make_optimizer
from jaxtl.train.state import init_state
from jaxtl.train.step import make_train_step
from jaxtl.transfer.partition import split_variables
from jaxtl.transfer.phases import Phase, stages_in_training_mode, trained_stages

BETA = 0.98  # of the smoothing
DIVERGED = 4.0  # times the best smoothed loss, and the test is over


class RangeTest(NamedTuple):
    """What a range test saw, one entry a step; the last one is where the loss had diverged, if it did.

    Attributes:
      rates: float64 ``[S]``, growing.
      losses: float64 ``[S]``, mean cross-entropy of the batch before its update, finite.
      smoothed: float64 ``[S]``, see ``smooth``.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray


class Suggestion(NamedTuple):
    """Rates to try.

    Attributes:
      steepest: where the smoothed loss falls fastest against the logarithm of the rate.
      tenth: a tenth of the rate at which it is smallest.
    """

    steepest: float
    tenth: float


def range_test(
    model: Classifier,
    variables: Mapping[str, Any],
    phase: Phase,
    train: Dataset,
    *,
    preprocess: Transform,
    batch_size: int,
    seed: int,
    phase_index: int,
    mesh: Mesh,
    low: float,
    high: float,
    steps: int,
    on_step: Callable[[int], None] = lambda done: None,
) -> RangeTest:
    """Train by a phase's recipe from ``low`` to ``high``, in as many steps, or until the loss has diverged.

    Optimiser, augmentation, frozen stages and their batch norm, order of images and dropout are the phase's; its
    schedule gives way to the growing rate, and features are not kept: a few steps see a part of the images alone.

    Args:
      model: the classifier.
      variables: ``params`` and, where the model has any, ``batch_stats``; they stay as they are.
      phase: settled, see ``jaxtl.transfer.phases``.
      train: the training images; after the last one an epoch begins anew.
      preprocess: resize and normalisation.
      batch_size: images a step, a multiple of the number of devices.
      seed: of the run.
      phase_index: position of the phase in the plan, from 0, which its randomness depends on.
      mesh: devices to run on.
      low: first learning rate, > 0.
      high: last learning rate, > low.
      steps: number of steps, at least 2.
      on_step: is told the number of steps done.

    Raises:
      UserError: the loss is not a number at the first step already.
      ValueError: ``low``, ``high`` or ``steps`` is out of range.
    """
    if not 0 < low < high or steps < 2:
        raise ValueError(f"a range test needs 0 < low < high and 2 steps or more, not {low}, {high} and {steps}")
    rates = np.geomspace(low, high, steps)
    table = jnp.asarray(rates, jnp.float32)
    optimizer = make_optimizer(
        phase.optimizer,
        lambda step: table[jnp.minimum(step, steps - 1)],
        momentum=phase.momentum,
        nesterov=phase.nesterov,
        weight_decay=phase.weight_decay,
        clip_norm=phase.clip_norm,
        multipliers=phase.multipliers,
        bias_multiplier=phase.bias_multiplier,
        lookahead=phase.lookahead,
        total_steps=steps,
    )
    variables = {"batch_stats": {}, **variables}
    in_training = stages_in_training_mode(phase, model.stage_names, variables["batch_stats"])
    moving, frozen = split_variables(
        variables, trained=trained_stages(phase, model.stage_names), in_training=in_training
    )
    step = make_train_step(
        model,
        optimizer,
        compose(random_augmentation(flip=phase.flip, crop=phase.crop, border=phase.crop_border), preprocess),
        train=in_training,
        label_smoothing=phase.label_smoothing,
        mesh=mesh,
    )
    everywhere = replicated(mesh)
    # A copy: the step donates its state, and the caller keeps the variables.
    state = _first_state(moving, optimizer, train.num_classes, mesh)
    frozen = jax.device_put(frozen, everywhere)
    no_sums = empty_metrics(train.num_classes)
    key = jax.random.fold_in(jax.random.key(seed), phase_index)
    losses: list[float] = []
    feed = _endless(place(train, mesh), batch_size, (seed, phase_index), mesh)
    for done, (inputs, labels, order, _) in enumerate(itertools.islice(feed, steps), start=1):
        state = state.replace(metrics=jax.device_put(jax.tree.map(jnp.copy, no_sums), everywhere))
        state = step(state, frozen, inputs, labels, order, key)
        loss = float(state.metrics.compute()["loss"])
        if not np.isfinite(loss):
            break
        losses.append(loss)
        on_step(done)
        smoothed = smooth(losses)
        if smoothed[-1] > DIVERGED * smoothed.min():
            break
    if not losses:
        raise UserError(
            f"The loss is not a number before the first update, so no learning rate can help phase {phase.name!r}; "
            "look at the images, their normalisation and the weights."
        )
    return RangeTest(rates[: len(losses)], np.asarray(losses), smooth(losses))


def smooth(losses: Any, beta: float = BETA) -> np.ndarray:
    """The exponential average of a sequence, corrected for its start at 0: float64 ``[S]``.

    >>> smooth([2.0, 2.0, 2.0]).round(6).tolist()
    [2.0, 2.0, 2.0]
    """
    average, averages = 0.0, []
    for i, loss in enumerate(losses, start=1):
        average = beta * average + (1 - beta) * float(loss)
        averages.append(average / (1 - beta**i))
    return np.asarray(averages)


def suggest(found: RangeTest) -> Suggestion | None:
    """Rates to try, or ``None`` where the smoothed loss never fell.

    The first tenth of the steps, in which the average is that of a few batches, has no say, and what comes after the
    smallest loss none in the steepest descent.
    """
    first = len(found.rates) // 10
    least = first + int(found.smoothed[first:].argmin())
    if least - first < 2:
        return None
    part = slice(first, least + 1)
    slopes = np.gradient(found.smoothed[part], np.log(found.rates[part]))
    return Suggestion(float(found.rates[part][slopes.argmin()]), float(found.rates[least] / 10))


def _first_state(moving: dict[str, Any], optimizer: optax.GradientTransformation, num_classes: int, mesh: Mesh) -> Any:
    def first(params: dict[str, Any], batch_stats: dict[str, Any]) -> Any:
        return jax.tree.map(jnp.copy, init_state(params, batch_stats, optimizer, num_classes))

    return jax.jit(first, out_shardings=replicated(mesh))(moving["params"], moving["batch_stats"])


def _endless(examples: Examples, batch_size: int, key: tuple[int, ...], mesh: Mesh) -> Iterator[Batch]:
    """The batches of one epoch after another, each in the order it has in training."""
    for epoch in itertools.count():
        yield from batches(examples, batch_size, (*key, epoch), mesh)
