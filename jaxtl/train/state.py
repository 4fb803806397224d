"""The state that a train step passes on to the next one."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from jaxtl.train.metrics import Metrics, empty_metrics


@flax.struct.dataclass
class TrainState:
    """The moving part of a phase; frozen variables stand beside it and never move.

    Attributes:
      step: int32 scalar, optimiser steps done in this phase.
      trained: parameters of the trained stages.
      batch_stats: running statistics of the stages in training mode; the others stand beside the state too.
      opt_state: state of the optimiser for ``trained`` alone.
      metrics: sums over the current epoch.
    """

    step: jax.Array
    trained: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: optax.OptState
    metrics: Metrics


def init_state(
    trained: dict[str, Any],
    batch_stats: dict[str, Any],
    optimizer: optax.GradientTransformation,
    num_classes: int,
    sharding: jax.sharding.Sharding | None = None,
) -> TrainState:
    """The state before the first step of a phase, placed by ``sharding``; of copies, which the step may donate."""

    def first(trained: dict[str, Any], batch_stats: dict[str, Any]) -> TrainState:
        step, metrics = jnp.zeros((), jnp.int32), empty_metrics(num_classes)
        state = TrainState(step, trained, batch_stats, optimizer.init(trained), metrics)
        copies: TrainState = jax.tree.map(jnp.copy, state)
        return copies

    # One program instead of one for each shape of the optimiser's zeros.
    made: TrainState = jax.jit(first, out_shardings=sharding)(trained, batch_stats)
    return made
