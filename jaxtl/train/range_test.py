"""The learning-rate range test: train while the rate grows exponentially, and see where the loss falls, and rises.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks", https://arxiv.org/abs/1506.01186; smoothing, end and
suggestions as in fastai's ``lr_find``, https://docs.fast.ai/callback.schedule.html.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxtl.errors import UserError
from jaxtl.runtime.mesh import put, replicated
from jaxtl.train.stepper import Stepper
from jaxtl.train.task import Task, image_inputs

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
    task: Task,
    variables: Mapping[str, Any],
    index: int,
    rates: Sequence[float] | np.ndarray,
    on_step: Callable[[int], None] = lambda done: None,
) -> RangeTest:
    """Train by a phase's recipe with one rate after another, until the loss has diverged.

    Optimiser, augmentation, frozen stages and their batch norm, order of images and dropout are the phase's. The rates
    take the place of its schedule, and features are not kept: a few steps see a part of the images alone.

    Args:
      task: what is trained; after the last image another epoch begins.
      variables: ``params`` and, where the model has any, ``batch_stats``; they stay as they are.
      index: position of the phase in the plan, from 0.
      rates: learning rates, growing, for example of ``np.geomspace``.
      on_step: is told the number of steps done.

    Raises:
      UserError: the loss is not a number before the first update.
    """
    phase, table = task.plan[index], jnp.asarray(rates, jnp.float32)
    start = put({"batch_stats": {}, **variables}, replicated(task.mesh))
    stepper = Stepper(task, index, start, lambda step: table[jnp.minimum(step, len(rates) - 1)])
    losses: list[float] = []
    epochs = (task.batches(task.images, index, epoch) for epoch in itertools.count())  # each in its order in training
    for batch in itertools.islice(itertools.chain.from_iterable(epochs), len(rates)):
        if stepper.program is None:
            stepper.compile(image_inputs(task, phase), batch)
        stepper.step(batch)
        loss = float(stepper.take_metrics()["loss"])
        if not np.isfinite(loss):
            break
        losses.append(loss)
        on_step(len(losses))
        smoothed = smooth(losses)
        if smoothed[-1] > DIVERGED * smoothed.min():
            break
    if not losses:
        raise UserError(
            f"The loss is not a number before the first update, so no learning rate can help phase {phase.name!r}; "
            "look at the images, their normalisation and the weights."
        )
    return RangeTest(np.asarray(rates)[: len(losses)], np.asarray(losses), smooth(losses))


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

    The first tenth of the steps is left out, because the average is that of a few batches there; so is, for the
    steepest descent, what comes after the smallest loss.
    """
    first = len(found.rates) // 10
    least = first + int(found.smoothed[first:].argmin())
    if least - first < 2:
        return None
    part = slice(first, least + 1)
    slopes = np.gradient(found.smoothed[part], np.log(found.rates[part]))
    return Suggestion(float(found.rates[part][slopes.argmin()]), float(found.rates[least] / 10))
