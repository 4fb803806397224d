"""What a train step carries on to the next one."""

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
    trained: dict[str, Any], batch_stats: dict[str, Any], optimizer: optax.GradientTransformation, num_classes: int
) -> TrainState:
    """The state before the first step of a phase."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trained=trained,
        batch_stats=batch_stats,
        opt_state=optimizer.init(trained),
        metrics=empty_metrics(num_classes),
    )
