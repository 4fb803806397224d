"""The state that a train step passes on to the next one."""

import math
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxtl.train.metrics import Metrics, empty_metrics


@flax.struct.dataclass
class TrainState:
    """The moving part of a phase; frozen variables stand beside it and never move.

    Attributes:
      step: int32 scalar, optimiser steps done in this phase.
      trained: parameters of the trained stages.
      batch_stats: running statistics of the stages in training mode; the others stand beside the state too.
      opt_state: state of the optimiser for ``trained`` alone.
      average: moving averages of ``params``, the trained ones, and ``batch_stats``; empty where there are none.
      metrics: sums over the current epoch.
    """

    step: jax.Array
    trained: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: optax.OptState
    average: dict[str, Any]
    metrics: Metrics


def init_state(
    trained: dict[str, Any],
    batch_stats: dict[str, Any],
    optimizer: optax.GradientTransformation,
    num_classes: int,
    sharding: jax.sharding.Sharding | None = None,
    *,
    averaged: bool = False,
) -> TrainState:
    """The state before the first step of a phase, if ``averaged`` with moving averages; the step may donate it.

    It is made of copies, placed by ``sharding``. ``trained`` and ``batch_stats`` are those of the stages that move.
    """

    def first(trained: dict[str, Any], batch_stats: dict[str, Any]) -> TrainState:
        step, metrics = jnp.zeros((), jnp.int32), empty_metrics(num_classes)
        average = {"params": trained, "batch_stats": batch_stats} if averaged else {}
        state = TrainState(step, trained, batch_stats, optimizer.init(trained), average, metrics)
        copies: TrainState = jax.tree.map(jnp.copy, state)
        return copies

    # One program instead of one for each shape of the optimiser's zeros.
    made: TrainState = jax.jit(first, out_shardings=sharding)(trained, batch_stats)
    return made


def moving_average(average: Any, values: Any, decay: float, opt_state: optax.OptState, step: jax.Array) -> Any:
    """The average of the values after each update, those of n updates ago weighed by ``decay ** n``.

    The weights sum to 1 from the first update on, so that the values before it have no share: the correction for the
    start that Adam makes (Kingma & Ba 2015, section 3). A step that only accumulates gradients leaves the average.

    Args:
      average: the average so far.
      values: a tree of the same structure.
      decay: in (0, 1).
      opt_state: after the step.
      step: int32 scalar, steps done, this one included.
    """
    is_update: ArrayLike = True
    if isinstance(opt_state, optax.MultiStepsState):
        step, is_update = opt_state.gradient_step, opt_state.mini_step == 0
    share = (1 - decay) / -jnp.expm1(step * math.log(decay))
    return optax.incremental_update(values, average, jnp.where(is_update, share, 0))
